"""Where models are found by name: the folders in EDGEPOSE_MODELS, then the cache folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import ModelError

_VARIABLE = "EDGEPOSE_MODELS"


@dataclass(frozen=True)
class WeightFile:
    """A file of published weights: its name, what it must hash to, and where it is published."""

    name: str
    sha256: str
    url: str


@dataclass(frozen=True)
class KnownModel:
    """A published network. `files[0]` is what `edgepose convert` takes."""

    name: str
    files: tuple[WeightFile, ...]
    licence: str
    published: str
    input_size: tuple[int, int]
    """Width and height it is converted to when nothing else is asked for."""
    needs_calibration: bool = False


_OMZ = "https://raw.githubusercontent.com/GNUp/cough-detectors-for-COVID-19/3904aea629564d0c4c447f2aa5a31647ff5b94a1/"
_TF_POSE = "https://raw.githubusercontent.com/ildoonet/tf-pose-estimation/9aaf34708e9863eeab9685a7ec52a45f3b576e2d/"

KNOWN_MODELS = (
    KnownModel(
        name="human-pose-estimation-0001",
        files=(
            WeightFile(
                "human-pose-estimation-0001.xml",
                "c3a47de94906e6b3256eb16af7274141b2fc9f6c7889a02d96ef430b9bc321d3",
                _OMZ + "intel/human-pose-estimation-0001/FP16-INT8/human-pose-estimation-0001.xml",
            ),
            WeightFile(
                "human-pose-estimation-0001.bin",
                "fc7e9dde0f4a34876cfbbd266388a59526a8c8c1bc9394ce4827b7a007d20f82",
                _OMZ + "intel/human-pose-estimation-0001/FP16-INT8/human-pose-estimation-0001.bin",
            ),
        ),
        licence="Apache-2.0",
        published="Open Model Zoo, Lightweight OpenPose on MobileNetV1, AP 0.428",
        input_size=(496, 368),
    ),
    KnownModel(
        name="mobilenet_v2_small",
        files=(
            WeightFile(
                "graph_opt.pb",
                "428a9d6e7bfc0319e1ce4de8c0191a9111cd281bea6ae2b496fd42c92d574160",
                _TF_POSE + "models/graph/mobilenet_v2_small/graph_opt.pb",
            ),
        ),
        licence="Apache-2.0",
        published="tf-pose-estimation, MobileNetV2 at width 0.5, AP 0.173",
        input_size=(432, 368),
        needs_calibration=True,
    ),
)
"""In the order in which `make demo` tries them."""


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
    return next((model for model in KNOWN_MODELS if model.name == name), None)


def find_weights(model: KnownModel) -> Path | None:
    """The published weights of a known model, where all its files are there and have the right hash."""
    for folder in search_folders():
        for place in (folder / model.name, folder):
            if all(has_hash(place / file.name, file.sha256) for file in model.files):
                return place / model.files[0].name
    return None


def find_tflite(name: str) -> Path:
    """The `.tflite` a user means by `-m`: a path, or the name of a file in one of the search folders.

    Raises ModelError saying where it was looked for.
    """
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


def has_hash(path: Path, sha256: str) -> bool:
    """Whether the file exists and its content hashes to `sha256`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False
