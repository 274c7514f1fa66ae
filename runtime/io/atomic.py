"""Writing files: whole or not at all, and never in the place of a device, a FIFO or a symbolic link."""

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
def atomic(path: Path) -> Iterator[Path]:
    """Give a path to write to; on success its content becomes that of `path`, otherwise it is removed.

    A regular file is replaced in one step: the path is that of a temporary file beside it, and the permissions of an
    existing file are kept. A symbolic link stays, its target is replaced. What is not a regular file (device nodes,
    FIFOs, `/dev/stdout`, `/proc/self/fd/N`) is never replaced: the path is its own, and it is written to directly.

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
    before = _stat(target)
    temporary = target.with_name(f".{target.name[:64]}.{secrets.token_hex(6)}.part")
    try:
        # A new file gets the permissions of any new file here; what replaces a private file is private from the start.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if before is None else 0o600))
    except OSError as error:
        raise OutputError(f"{path}: cannot write here: {error.strerror}") from None
    try:
        yield temporary
        move(temporary, target)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def move(temporary: Path, path: Path) -> None:
    """Put a finished file in the place of `path`, with the permissions and, if possible, the owner of what it replaces.

    Raises:
        OutputError: `path` is a folder, or not a regular file.
        OSError: The file cannot be moved.
    """
    target = find_target(path)
    if target is None:
        raise OutputError(f"{path}: expected a regular file to write, this is a device, FIFO or socket")
    if (before := _stat(target)) is not None:
        with suppress(PermissionError):
            os.chown(temporary, before.st_uid, before.st_gid)
        temporary.chmod(stat.S_IMODE(before.st_mode) & 0o777)
    temporary.replace(target)


def find_target(path: Path) -> Path | None:
    """Return the regular file that `path` names, with links followed; None for what must be written to directly.

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
    found = _stat(target)
    return target if found is None or stat.S_ISREG(found.st_mode) else None


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, or nothing."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Create a folder and its parents. Raises OutputError if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot make this folder: {error.strerror}") from None


def expand_home(path: str) -> str:
    """Return `path` with a leading `~` or `~user` replaced by the home folder; a file of that name is `./~`.

    Raises:
        InputError: There is no such user, or the home folder is not known.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        user = path.partition("/")[0]
        raise InputError(
            f"{path}: the home folder {user} is not known; for a file of that name write ./{user}"
        ) from None


def try_expand_home(path: str) -> str:
    """Return `path` as `expand_home` does, but unchanged if a file has that name or the home folder is not known."""
    if Path(path).exists():
        return path
    try:
        return expand_home(path)
    except InputError:
        return path


def refuse_overwriting(output: Path, source: Path) -> None:
    """Raise InputError if a file that is to be written is the file that is read, also through a link."""
    try:
        same = output.is_file() and output.samefile(source)
    except OSError:
        return
    if same:
        raise InputError(f"{output}: this output would overwrite the input {source}; choose another place")


def is_descriptor(path: Path) -> bool:
    """Whether a path names an open file (`/dev/stdout`, `/proc/self/fd/1`), which may be a regular one."""
    folder = os.path.realpath(path.parent)
    return folder.startswith("/proc/") or (folder == "/dev" and path.name in ("stdin", "stdout", "stderr"))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
