"""A board's Python environment as one archive: a virtual environment that sees the system's packages, with our wheels.

It is laid out on the workstation, where that takes seconds; `python3 -m venv` and pip on a Raspberry Pi Zero take
minutes. A virtual environment is no more than `pyvenv.cfg`, a link to Python and a folder of packages (PEP 405).
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
from .wheelhouse import Place, pip, requirements, run, sha256_of

_FORMAT = "1"
_UNUSED = ("*.pyi", "*.h", "*.lib", "tests", "__pycache__")
"""What packages carry and a board never reads."""


def identity(wheels: Mapping[Path, str], place: Place, executable: str) -> str:
    """Return the name of an environment, sixteen digits: the same wheels for the same Python have the same.

    `wheels`: with their SHA-256.
    """
    digest = hashlib.sha256(f"{_FORMAT}\n{place.python}\n{executable}\n".encode())
    for wheel, hashed in sorted(wheels.items(), key=lambda pair: pair[0].name):
        digest.update(wheel.name.encode() + bytes.fromhex(hashed))
    return digest.hexdigest()[:16]


def archive(wheels: Sequence[Path], place: Place, executable: str, cache: Path) -> Path:
    """The environment as a `.tar.gz` in the cache, made when it is not there yet."""
    digests = {wheel: sha256_of(wheel) for wheel in wheels}
    name = identity(digests, place, executable)
    path = cache / f"{name}.tar.gz"
    recorded = path.with_suffix(".sha256")
    if path.is_file() and recorded.is_file() and recorded.read_text(encoding="utf-8").strip() == sha256_of(path):
        return path
    atomic.make_folder(cache)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "venv"
        version = f"python{place.python[0]}.{place.python[1]}"
        packages = root / "lib" / version / "site-packages"
        packages.mkdir(parents=True)
        listed = Path(folder) / "requirements.txt"
        # What is unpacked is what the name of the environment was computed from: pip checks it again.
        listed.write_text(requirements((wheel, digests[wheel]) for wheel in wheels), encoding="utf-8")
        words = [*pip("install", place), "--no-index", "--no-deps", "--no-compile", "--require-hashes",
                 "--target", str(packages), "-r", str(listed)]  # fmt: skip
        run(words, "the environment cannot be laid out")
        shutil.rmtree(packages / "bin", ignore_errors=True)
        for pattern in _UNUSED:
            for found in list(packages.rglob(pattern)):
                shutil.rmtree(found) if found.is_dir() else found.unlink()
        (root / "bin").mkdir()
        for link in ("python", "python3"):
            (root / "bin" / link).symlink_to(executable)
        home = Path(executable).parent
        (root / "pyvenv.cfg").write_text(
            f"home = {home}\ninclude-system-site-packages = true\nversion = {'.'.join(map(str, place.python))}\n"
            f"executable = {executable}\n"
        )
        with (
            atomic.atomic(path) as temporary,
            gzip.open(temporary, "wb", compresslevel=6) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            tar.add(root, arcname=".", filter=plain)
    # The archive is kept for months; what is sent to a board is what was laid out here.
    atomic.write_text(recorded, sha256_of(path) + "\n")
    return path


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what differs from workstation to workstation."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry
