"""Folders for a program that is root where others can write: opened one by one, no symbolic link followed."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat

NO_FOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC


class RefusedError(Exception):
    """Something is not as it must be."""


def open_folder(name: str, parent: int | None = None) -> int:
    """Open a folder without following a symbolic link in its last component."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | NO_FOLLOW, dir_fd=parent)
    except OSError as error:
        raise RefusedError(f"{name}: expected a folder, not a link: {error.strerror}") from None


def check_owner(folder: int, name: str, owner: int) -> None:
    """Refuse a folder that belongs to another user or that others may write to."""
    about = os.fstat(folder)
    if about.st_uid != owner or about.st_mode & 0o022:
        raise RefusedError(f"{name}: expected a folder that only its owner {owner} may write to, not {describe(about)}")


def describe(about: os.stat_result) -> str:
    """Return owner and mode in words."""
    return f"owner {about.st_uid}, mode {stat.S_IMODE(about.st_mode):o}"


def open_base(base: str, owner: int) -> int:
    """Open the base folder, after every folder above it has been found to be root's."""
    if not os.path.isabs(base) or os.path.normpath(base) != base:
        raise RefusedError(f"{base}: expected a plain absolute path")
    parent = os.open("/", os.O_RDONLY | os.O_DIRECTORY | NO_FOLLOW)
    path = ""
    for name in base.split("/")[1:-1]:
        path += "/" + name
        child = open_folder(name, parent)
        about = os.fstat(child)
        # /tmp may be written to by all, but nobody can rename what is another's there.
        if about.st_uid not in (0, owner) or (about.st_mode & 0o022 and not about.st_mode & stat.S_ISVTX):
            raise RefusedError(f"{path}: expected a folder of root's that nobody else may write to: {describe(about)}")
        os.close(parent)
        parent = child
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.basename(base), 0o755, dir_fd=parent)
        return open_folder(os.path.basename(base), parent)
    finally:
        os.close(parent)


def own_folder(name: str, parent: int, mode: int, owner: int, group: int, *, empty: bool = False) -> int:
    """Make a folder ours: whatever else has its name goes; what a folder of that name holds is not looked at.

    `parent` must be ours already, so that nobody can put another thing in the place of what was opened.
    """
    about = lstat(name, parent)
    if about is not None and (empty or not stat.S_ISDIR(about.st_mode)):
        remove(name, parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    folder = open_folder(name, parent)
    os.fchown(folder, owner, group)
    os.fchmod(folder, mode)
    return folder


def lstat(name: str, parent: int) -> os.stat_result | None:
    """What has this name, itself and not what it points to; None if nothing has."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def remove(name: str, parent: int) -> None:
    """Remove a file, a link or a whole folder; links in it are removed, never followed."""
    about = lstat(name, parent)
    if about is None:
        return
    if stat.S_ISDIR(about.st_mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)


def make_folders(path: str, target: int) -> int:
    """Open a folder below `target`, made with those above it."""
    folder = os.dup(target)
    for part in path.split("/") if path else ():
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=folder)
        child = open_folder(part, folder)
        os.close(folder)
        folder = child
    return folder
