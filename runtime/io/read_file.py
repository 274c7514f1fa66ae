"""Reading of whole files named by users, without blocking on FIFOs, devices and sockets."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .atomic import is_descriptor

MAX_BYTES = 1 << 28
"""Default size limit, larger than any configuration, model list or profile."""
_SPECIAL_KINDS = (
    (stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "FIFO"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"),
    (stat.S_ISSOCK, "socket"),
)  # fmt: skip


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file, or a pipe that the shell has opened, such as `<(command)` or `/dev/stdin`.

    Raises:
        OSError: The file cannot be read or is larger than `limit` bytes. Also for folders, FIFOs, devices and sockets,
            because reading them could block forever.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(handle).st_mode
        if stat.S_ISFIFO(mode) and is_descriptor(path):
            os.set_blocking(handle, True)
        elif not stat.S_ISREG(mode):
            kind = next((name for check, name in _SPECIAL_KINDS if check(mode)), "special file")
            raise OSError(errno.EINVAL, f"expected a regular file, this is a {kind}", str(path))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"expected at most {limit / 1e6:.3g} MB", str(path))
    return content


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Read a UTF-8 text file.

    Raises:
        OSError: As for `read_bytes`.
        UnicodeDecodeError: The file is not UTF-8.
    """
    return read_bytes(path, limit).decode("utf-8")


def is_special_file(path: Path) -> bool:
    """Return True for FIFOs, devices and sockets: they must not be opened as files, because reading could block."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
