"""Checks of the folders of models and of the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
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
    *folders, _ = registry.get_search_folders()
    for folder in folders:
        if folder.is_dir():
            yield Check(name, "ok", f"EDGEPOSE_MODELS: {folder}, {len(list(folder.rglob('*.tflite')))} .tflite files")
        else:
            yield Check(name, "warning", f"EDGEPOSE_MODELS: {folder} is not a folder", "correct or unset the variable")
    try:
        registry.load_known_models()
    except EdgePoseError as error:
        yield Check(name, "failed", str(error), "correct or remove this models.toml")


def check_cache(folder: Path | None = None) -> Iterator[Check]:
    """Show folder, size and free space of the cache.

    Args:
        folder: Folder to check; None takes the cache folder of the user.
    """
    folder = folder or registry.get_cache_folder()
    name, existing = "cache", folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        fix = f"sudo chown -R $USER {existing}, or set XDG_CACHE_HOME to another folder"
        yield Check(name, "failed", f"{folder}: cannot be written", fix)
        return
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    used_mb = sum(path.stat().st_size for path in files) / 1e6
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    seen = f"{folder}, {len(files)} files, {used_mb:.0f} MB; {free_mb} MB free"
    if free_mb < _MIN_FREE_MB:
        fix = f"free {_MIN_FREE_MB} MB; the cache itself can be deleted: rm -r {folder}"
        yield Check(name, "warning", seen, fix)
    else:
        yield Check(name, "ok", seen)
