"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError, OutputError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary file beside `path` to write to; on success it takes the place of `path`, else it goes.

    Raises OutputError where the folder is missing or not writable, or the disk is full.
    """
    if path.is_dir():
        raise OutputError(f"{path}: expected a file to write, this is a folder")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot write here: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private; a result gets the permissions any new file has here.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file, or nothing."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Creates a folder and its parents. Raises OutputError where that cannot be."""
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
