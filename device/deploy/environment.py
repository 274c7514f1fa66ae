"""Builder of the Python environment of a board: a virtual environment with our wheels, packed as one archive.

The environment includes the packages of the system. It is built on the workstation, which takes seconds; `python3 -m
venv` and pip on a Raspberry Pi Zero take minutes. A virtual environment consists of `pyvenv.cfg`, a link to Python and
a folder of packages (PEP 405).
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...runtime.io import atomic
from .wheelhouse import WheelTarget, compute_sha256, format_requirements, make_pip_command, run_pip

_FORMAT_VERSION = "1"
_UNUSED_PATTERNS = ("*.pyi", "*.h", "*.lib", "tests", "__pycache__")
"""Files in packages that a board does not need."""


def compute_identity(wheels: Mapping[Path, str], target: WheelTarget, executable: str) -> str:
    """Compute the id of an environment. The same wheels for the same Python have the same id.

    Args:
        wheels: Wheels with their SHA-256.
        target: Machine and Python of the board.
        executable: Path of Python on the board.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(f"{_FORMAT_VERSION}\n{target.python}\n{executable}\n".encode())
    for wheel, hashed in sorted(wheels.items(), key=lambda pair: pair[0].name):
        digest.update(wheel.name.encode() + bytes.fromhex(hashed))
    return digest.hexdigest()[:16]


def build_archive(wheels: Sequence[Path], target: WheelTarget, executable: str, cache: Path) -> Path:
    """Build the environment as a `.tar.gz` in the cache, unless it is there already with the recorded SHA-256.

    Args:
        wheels: Wheels to install.
        target: Machine and Python of the board.
        executable: Path of Python on the board.
        cache: Folder of the archives.

    Returns:
        Path of the archive; its name begins with the id of the environment.

    Raises:
        InputError: pip cannot install the wheels.
    """
    digests = {wheel: compute_sha256(wheel) for wheel in wheels}
    name = compute_identity(digests, target, executable)
    path = cache / f"{name}.tar.gz"
    hash_file = path.with_suffix(".sha256")
    if path.is_file() and hash_file.is_file() and hash_file.read_text(encoding="utf-8").strip() == compute_sha256(path):
        return path
    atomic.make_folder(cache)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "venv"
        version = f"python{target.python[0]}.{target.python[1]}"
        packages = root / "lib" / version / "site-packages"
        packages.mkdir(parents=True)
        requirements_file = Path(folder) / "requirements.txt"
        # pip checks the hashes again: the installed wheels are those that the id was computed from.
        requirements_file.write_text(format_requirements((wheel, digests[wheel]) for wheel in wheels), encoding="utf-8")
        words = make_pip_command("install", target) + [
            "--no-index", "--no-deps", "--no-compile", "--require-hashes", "--target", str(packages),
            "-r", str(requirements_file),
        ]  # fmt: skip
        run_pip(words, "cannot build the environment")
        shutil.rmtree(packages / "bin", ignore_errors=True)
        for pattern in _UNUSED_PATTERNS:
            for found in list(packages.rglob(pattern)):
                shutil.rmtree(found) if found.is_dir() else found.unlink()
        (root / "bin").mkdir()
        for link in ("python", "python3"):
            (root / "bin" / link).symlink_to(executable)
        home = Path(executable).parent
        (root / "pyvenv.cfg").write_text(
            f"home = {home}\ninclude-system-site-packages = true\nversion = {'.'.join(map(str, target.python))}\n"
            f"executable = {executable}\n"
        )
        with (
            atomic.replace_file(path) as temporary,
            gzip.open(temporary, "wb", compresslevel=6) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            tar.add(root, arcname=".", filter=normalize_entry)
    # The archive stays in the cache for months; the hash ensures that a board gets what was built here.
    atomic.write_text(hash_file, compute_sha256(path) + "\n")
    return path


def normalize_entry(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Normalize owner, time and mode of a tar entry, which differ between workstations."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry
