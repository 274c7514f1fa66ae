"""Where models are found by name: the folders in EDGEPOSE_MODELS, then the cache folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import ModelError
from .registry_file import KnownModel, read_list

_VARIABLE = "EDGEPOSE_MODELS"
_LIST = "models.toml"
_OWN_LIST = Path(__file__).parent.parent / _LIST
_PACKAGED = Path(__file__).parent.parent / "models"

DEFAULT = "edgepose-tiny"
"""The model that comes with the package and is used where none is named."""


def known_models() -> tuple[KnownModel, ...]:
    """The models of the package's own list, then those of a `models.toml` in each folder of EDGEPOSE_MODELS.

    A name that is listed twice means the first. Raises ModelError naming the entry that is wrong.
    """
    found: dict[str, KnownModel] = {}
    for path in (_OWN_LIST, *(folder / _LIST for folder in search_folders())):
        if path.is_file():
            for model in read_list(path):
                found.setdefault(model.name, model)
    return tuple(found.values())


def cache_folder() -> Path:
    """The user's cache folder for models."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgepose"))


def search_folders() -> list[Path]:
    """The folders of EDGEPOSE_MODELS (separated as in PATH), then the cache."""
    named = [Path(part).expanduser() for part in os.environ.get(_VARIABLE, "").split(os.pathsep) if part]
    return [*named, cache_folder()]


def known(name: str) -> KnownModel | None:
    """The known model of that name."""
    return next((model for model in known_models() if model.name == name), None)


def find_weights(model: KnownModel) -> Path | None:
    """The published weights of a known model, where all its files are there and have the right hash."""
    for folder in search_folders():
        for place in (folder / model.name, folder):
            if all(file.matches(place / file.name) for file in model.files):
                return place / model.files[0].name
    return None


def packaged() -> tuple[Path, ...]:
    """The models that come with the package, by name."""
    return tuple(sorted(_PACKAGED.glob("*.tflite")))


def find_tflite(name: str | None) -> Path:
    """The `.tflite` a user means by `-m`: a path, or the name of a file in one of the search folders or the package.

    None, or nothing, is the default model.

    Raises ModelError saying where it was looked for.
    """
    name = name or DEFAULT
    path = Path(name)
    if path.suffix == ".tflite" or path.parent != Path() or path.exists():
        return path
    for candidate in _candidates(name):
        if candidate.is_file():
            return candidate
    places = ", ".join(str(folder) for folder in search_folders())
    hint = f"make it with `edgepose convert {name} -o {name}.tflite`" if known(name) else "give the path of a .tflite"
    raise ModelError(f"no model {name!r} in {places}; {hint}")


def _candidates(name: str) -> Iterator[Path]:
    for folder in search_folders():
        yield folder / f"{name}.tflite"
        yield folder / name / f"{name}.tflite"
    yield _PACKAGED / f"{name}.tflite"
