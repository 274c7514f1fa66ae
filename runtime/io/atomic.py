"""Atomic writing of files. Devices, FIFOs and symbolic links are never replaced."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError, OutputError

_MAX_LINKS = 40


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces `path` on success and is removed on an error.

    The temporary file is in the same folder, so the replacement is atomic. The permissions of an existing file are
    kept. If `path` is a symbolic link, the link is kept and its target is replaced. Devices, FIFOs, `/dev/stdout` and
    `/proc/self/fd/N` are never replaced: `path` itself is yielded, and the caller writes to it directly.

    Raises:
        OutputError: The folder is missing or not writable, or the disk is full.
    """
    target = find_target(path)
    if target is None:
        try:
            yield path
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
        return
    existing = _stat_or_none(target)
    temporary = target.with_name(f".{target.name[:64]}.{secrets.token_hex(6)}.part")
    try:
        # A new file gets the default permissions. If a private file is replaced, the new one is private from the start.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if existing is None else 0o600))
    except OSError as error:
        raise OutputError(f"{path}: cannot write here: {error.strerror}") from None
    try:
        yield temporary
        move_into_place(temporary, target)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def move_into_place(temporary: Path, path: Path) -> None:
    """Replace `path` by a finished file; keep the permissions and, if possible, the owner of an existing file.

    Raises:
        OutputError: `path` is a folder or not a regular file.
        OSError: The file cannot be moved.
    """
    target = find_target(path)
    if target is None:
        raise OutputError(f"{path}: expected a regular file to write, this is a device, FIFO or socket")
    if (existing := _stat_or_none(target)) is not None:
        with suppress(PermissionError):
            os.chown(temporary, existing.st_uid, existing.st_gid)
        temporary.chmod(stat.S_IMODE(existing.st_mode) & 0o777)
    temporary.replace(target)


def find_target(path: Path) -> Path | None:
    """Follow the symbolic links of `path` to the file that a write replaces.

    Returns:
        A regular file or a path at which no file exists yet; None for devices, FIFOs and open files (`/dev/stdout`),
        which must be written to directly.

    Raises:
        OutputError: `path` is a folder, or its links form a loop.
    """
    if path.is_dir():
        raise OutputError(f"{path}: expected a file to write, this is a folder")
    target = path
    for _ in range(_MAX_LINKS):
        if is_descriptor(target):
            return None
        if not target.is_symlink():
            break
        target = target.parent / target.readlink()
    else:
        raise OutputError(f"{path}: cannot be written: its symbolic links form a loop")
    found = _stat_or_none(target)
    return target if found is None or stat.S_ISREG(found.st_mode) else None


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        OutputError: The folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot create this folder: {error.strerror}") from None


def expand_home(path: str) -> str:
    """Replace a leading `~` or `~user` by the home folder. For a file with that name, the user must write `./~`.

    Raises:
        InputError: There is no such user, or the home folder is unknown.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        user = path.partition("/")[0]
        raise InputError(
            f"{path}: the home folder {user} is unknown; if this is the name of a file, write ./{user}"
        ) from None


def try_expand_home(path: str) -> str:
    """Do the same as `expand_home`, but return `path` unchanged if such a file exists or the home folder is unknown."""
    if Path(path).exists():
        return path
    try:
        return expand_home(path)
    except InputError:
        return path


def refuse_overwriting(output: Path, source: Path) -> None:
    """Raise InputError if the output file is the input file, also through a symbolic or hard link."""
    try:
        same = output.is_file() and output.samefile(source)
    except OSError:
        return
    if same:
        raise InputError(f"{output}: this output would overwrite the input {source}; choose another output path")


def is_descriptor(path: Path) -> bool:
    """Return True if the path names an open file (`/dev/stdout`, `/proc/self/fd/1`), also if it is a regular file."""
    folder = os.path.realpath(path.parent)
    return folder.startswith("/proc/") or (folder == "/dev" and path.name in ("stdin", "stdout", "stderr"))


def _stat_or_none(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
