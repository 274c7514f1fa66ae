"""Safe access to folders for a program that runs as root in places where other users can write.

Folders are opened one by one, and no symbolic link is followed. This file is sent to the board together with
`install.py` and uses only the standard library.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat

NO_FOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC


class RefusedError(Exception):
    """Error of a step that is refused, because a folder, an upload or an archive is not as expected."""


def open_folder(name: str, parent: int | None = None) -> int:
    """Open a folder and return its file descriptor. Raises RefusedError if the last component is a link."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | NO_FOLLOW, dir_fd=parent)
    except OSError as error:
        raise RefusedError(f"{name}: expected a folder, not a link: {error.strerror}") from None


def check_owner(folder: int, name: str, owner: int) -> None:
    """Raise RefusedError if a folder belongs to another user, or if other users may write to it."""
    status = os.fstat(folder)
    if status.st_uid != owner or status.st_mode & 0o022:
        raise RefusedError(
            f"{name}: expected a folder that only user {owner} may write to, got {describe_permissions(status)}"
        )


def describe_permissions(status: os.stat_result) -> str:
    """Return owner and mode as text."""
    return f"owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o}"


def open_base(base: str, owner: int) -> int:
    """Create and open the base folder. Raises RefusedError if a user other than root can change a folder above it."""
    if not os.path.isabs(base) or os.path.normpath(base) != base:
        raise RefusedError(f"{base}: expected a plain absolute path")
    parent = os.open("/", os.O_RDONLY | os.O_DIRECTORY | NO_FOLLOW)
    path = ""
    for name in base.split("/")[1:-1]:
        path += "/" + name
        child = open_folder(name, parent)
        status = os.fstat(child)
        # Everybody may write to a folder like /tmp, but its sticky bit prevents renaming the folders of other users.
        if status.st_uid not in (0, owner) or (status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX):
            raise RefusedError(
                f"{path}: expected a folder of root that nobody else may write to, got {describe_permissions(status)}"
            )
        os.close(parent)
        parent = child
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.basename(base), 0o755, dir_fd=parent)
        return open_folder(os.path.basename(base), parent)
    finally:
        os.close(parent)


def make_own_folder(name: str, parent: int, mode: int, owner: int, group: int, *, empty: bool = False) -> int:
    """Create or take over a folder and set its mode and owner. A file or link of this name is removed first.

    The contents of an existing folder are not changed, unless `empty` is True: then the folder is created again.
    `parent` must belong to us already, so that nobody can replace the folder after it was opened.

    Returns:
        File descriptor of the folder.
    """
    status = lstat(name, parent)
    if status is not None and (empty or not stat.S_ISDIR(status.st_mode)):
        remove(name, parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    folder = open_folder(name, parent)
    os.fchown(folder, owner, group)
    os.fchmod(folder, mode)
    return folder


def lstat(name: str, parent: int) -> os.stat_result | None:
    """Return the status of a file, folder or link itself; None if there is none of this name."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def remove(name: str, parent: int) -> None:
    """Remove a file, a link or a folder with its contents. Links in the folder are removed, not followed."""
    status = lstat(name, parent)
    if status is None:
        return
    if stat.S_ISDIR(status.st_mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)


def make_folders(path: str, target: int) -> int:
    """Create the folders of a relative path below `target`; return a file descriptor of the last one."""
    folder = os.dup(target)
    for part in path.split("/") if path else ():
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=folder)
        child = open_folder(part, folder)
        os.close(folder)
        folder = child
    return folder
