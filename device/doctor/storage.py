"""Checks of the folders of models and of the cache."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...runtime.errors import EdgePoseError
from ...runtime.model import registry
from ..deploy.check import Check

_MIN_FREE_MB = 200


def check_models() -> Iterator[Check]:
    """Show the models that can be used by name, and their folders."""
    name = "models"
    packaged = registry.list_packaged_models()
    names = ", ".join(path.stem for path in packaged) or "none"
    if any(path.stem == registry.DEFAULT_MODEL for path in packaged):
        yield Check(name, "ok", f"in the package: {names}")
    else:
        yield Check(
            name, "failed", f"in the package: {names}; expected {registry.DEFAULT_MODEL}", "install edgepose again"
        )
    try:
        *folders, _ = registry.get_search_folders()
    except EdgePoseError as error:
        seen, _, fix = str(error).partition("; ")
        yield Check(name, "failed", seen, fix)
        return
    for folder in folders:
        if not _is_folder(folder):
            yield Check(name, "warning", f"EDGEPOSE_MODELS: {folder} is not a folder", "correct or unset the variable")
        elif not os.access(folder, os.R_OK | os.X_OK):
            yield Check(name, "failed", f"EDGEPOSE_MODELS: {folder} cannot be read", f"sudo chmod a+rx {folder}")
        else:
            yield Check(name, "ok", f"EDGEPOSE_MODELS: {folder}, {len(list(folder.rglob('*.tflite')))} .tflite files")
    try:
        registry.load_known_models()
    except EdgePoseError as error:
        yield Check(name, "failed", str(error), "correct or remove this models.toml")
    except OSError as error:
        yield Check(name, "failed", f"{error.filename}: {error.strerror}", "correct the permissions of this folder")


def check_cache(folder: Path | None = None) -> Iterator[Check]:
    """Show folder, size and free space of the cache.

    Args:
        folder: Folder to check; None takes the cache folder of the user.
    """
    name, other_folder = "cache", "set XDG_CACHE_HOME to another folder"
    try:
        folder = existing = folder or registry.get_cache_folder()
    except EdgePoseError as error:
        seen, _, fix = str(error).partition("; ")
        yield Check(name, "failed", seen, fix)
        return
    # os.path: in a folder that may not be read, a Path raises an error. A broken link cannot be replaced by a folder.
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not _is_folder(existing):
        fix = f"rename {existing}, or {other_folder}"
        yield Check(name, "failed", f"{folder}: cannot be written; {existing} is not a folder", fix)
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        fix = f"sudo chown -R $USER {existing}, or {other_folder}"
        yield Check(name, "failed", f"{folder}: cannot be written", fix)
        return
    sizes = _list_sizes(folder)
    used_mb = sum(sizes) / 1e6
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    seen = f"{folder}, {len(sizes)} files, {used_mb:.0f} MB; {free_mb} MB free"
    if free_mb < _MIN_FREE_MB:
        fix = f"free {_MIN_FREE_MB} MB; the cache itself can be deleted: rm -r {folder}"
        yield Check(name, "warning", seen, fix)
    else:
        yield Check(name, "ok", seen)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # in a folder that may not be read
        return False


def _list_sizes(folder: Path) -> list[int]:
    """Return the sizes of the files in bytes. Files and folders that cannot be read are left out."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                status = Path(parent, name).lstat()
                if stat.S_ISREG(status.st_mode):
                    found.append(status.st_size)
    return found
