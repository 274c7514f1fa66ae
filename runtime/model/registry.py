"""Models by name: search in the folders of EDGEPOSE_MODELS, in the cache folder, and in the package."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import ModelError
from .registry_file import KnownModel, read_list

_FOLDERS_VARIABLE = "EDGEPOSE_MODELS"
_LIST_NAME = "models.toml"
_PACKAGED_LIST = Path(__file__).parent.parent / _LIST_NAME
_PACKAGED_FOLDER = Path(__file__).parent.parent / "models"

DEFAULT_MODEL = "edgepose-tiny"
"""Name of the model that is part of the package and is used if no model is given."""


def load_known_models() -> tuple[KnownModel, ...]:
    """Read the lists of known models.

    The first list is part of the package. Then follows `models.toml` in each search folder, if it exists. If a name is
    listed twice, the first entry is used.

    Raises:
        ModelError: A list has an invalid entry, which the message names.
    """
    found: dict[str, KnownModel] = {}
    for path in (_PACKAGED_LIST, *(folder / _LIST_NAME for folder in get_search_folders())):
        if path.is_file():
            for model in read_list(path):
                found.setdefault(model.name, model)
    return tuple(found.values())


def get_cache_folder() -> Path:
    """Return the cache folder of the user for models. It may not exist.

    Raises:
        ModelError: The user has no home folder.
    """
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("edgepose"))
    except RuntimeError:
        raise ModelError("this user has no home folder for the cache; set XDG_CACHE_HOME to a folder") from None


def get_search_folders() -> list[Path]:
    """Return the folders of EDGEPOSE_MODELS (separated as in PATH), then the cache folder.

    Raises:
        ModelError: The user has no home folder, or EDGEPOSE_MODELS names the home folder of an unknown user.
    """
    parts = [part for part in os.environ.get(_FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    try:
        folders = [Path(part).expanduser() for part in parts]
    except RuntimeError:
        raise ModelError(f"{_FOLDERS_VARIABLE}: there is no home folder for ~ in {os.pathsep.join(parts)}") from None
    return [*folders, get_cache_folder()]


def find_known_model(name: str) -> KnownModel | None:
    """Return the known model with this name, or None.

    Raises:
        ModelError: As for `load_known_models`.
    """
    return next((model for model in load_known_models() if model.name == name), None)


def find_weights(model: KnownModel) -> Path | None:
    """Find the downloaded weights of a known model.

    Returns:
        Path of the first file of the model in the first folder that contains all its files with the right hashes, or
        None.
    """
    for folder in get_search_folders():
        for place in (folder / model.name, folder):
            if all(file.matches(place / file.name) for file in model.files):
                return place / model.files[0].name
    return None


def list_packaged_models() -> tuple[Path, ...]:
    """Return the model files that are part of the package, sorted by name."""
    return tuple(sorted(_PACKAGED_FOLDER.glob("*.tflite")))


def find_model_file(name: str | None) -> Path:
    """Find the model file for the value of `-m`.

    Args:
        name: A path, or the name of a model in a search folder or in the package. None or "" is the default model.

    Returns:
        The path. If `name` is a path, it may not exist.

    Raises:
        ModelError: There is no such model; the message lists the folders that were searched.
    """
    name = name or DEFAULT_MODEL
    path = Path(name)
    if path.suffix == ".tflite" or path.parent != Path() or path.exists():
        return path
    for candidate in _iterate_candidates(name):
        if candidate.is_file():
            return candidate
    places = ", ".join(str(folder) for folder in get_search_folders())
    if find_known_model(name):
        hint = f"create it with `edgepose convert {name} -o {name}.tflite`"
    else:
        near = difflib.get_close_matches(name, _list_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "give the path of a .tflite file"
    raise ModelError(f"no model {name!r} in {places}; {hint}")


def _iterate_candidates(name: str) -> Iterator[Path]:
    for folder in get_search_folders():
        yield folder / f"{name}.tflite"
        yield folder / name / f"{name}.tflite"
    yield _PACKAGED_FOLDER / f"{name}.tflite"


def _list_names() -> list[str]:
    found = [path.stem for folder in get_search_folders() for path in sorted(folder.glob("*.tflite"))]
    return [*(path.stem for path in list_packaged_models()), *found, *(model.name for model in load_known_models())]
