"""Conversion and scoring from Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from ..runtime import PoseEstimator
from ..runtime.decode import DecoderOptions
from ..runtime.errors import EdgePoseError
from .convert import Conversion, Options, check_output, convert
from .importers import detect
from .ir import input_sizes
from .validate.coco import CocoDataset, CocoScore

_PATHS = ("calibration", "report", "verify", "annotations", "empty")


def convert_model(
    source: str | PathLike[str],
    output: str | PathLike[str],
    *,
    note: Callable[[str], object] = lambda text: None,
    **options: Any,
) -> Conversion:
    """Convert a network to a TFLite file with a manifest, as `edgepose convert` does. Needs the extra `convert`.

    >>> edgepose.convert_model("mobilenet_thin", "thin.tflite", precision="int8", calibration="images/")

    Args:
        source: The name of a known model, or a file: frozen graph, SavedModel, Keras, checkpoint, arrays, OpenVINO IR,
            TFLite.
        output: The file to write, `.tflite`. It is written whole or not at all.
        note: Called with each step, in plain text.
        **options: As the options of `edgepose convert`: `precision`, `input_size` ("432x368" or a tuple),
            `calibration`, `verify`, `annotations`, ... (`edgepose.convert.convert.Options`).

    Returns:
        The path, the manifest, and `shortfalls`: what lies outside the tolerance of the precision, empty if nothing.

    Raises:
        ModelError: The network cannot be converted.
        InputError: Images or annotations cannot be read.
        OutputError: The file cannot be written.
        TypeError: There is no such option.
    """
    names = [item.name for item in fields(Options)]
    for name, value in options.items():
        if name not in names:
            raise TypeError(f"convert_model: no option {name!r}; expected one of {', '.join(names)}")
        if name in _PATHS and value is not None:
            options[name] = Path(value)
        if name == "input_size" and isinstance(value, str):
            options[name] = input_sizes.parse(value)
    path = Path(output)
    check_output(path)
    return convert(detect.find(str(source)), path, Options(**options), lambda text: (note(text), None)[1])


def evaluate_model(
    model: str | PathLike[str] | PoseEstimator | None,
    images: str | PathLike[str],
    annotations: str | PathLike[str],
    *,
    limit: int | None = None,
) -> CocoScore:
    """Score a model on COCO keypoint annotations. Needs the extra `eval`.

    >>> edgepose.evaluate_model("edgepose-small", "val2017", "person_keypoints_val2017.json").ap

    Args:
        model: The path or name of a model, or an estimator. One that is made here keeps all poses, whatever their
            score, because COCO's AP ranks them.
        images: The folder of the images.
        annotations: The annotation file.
        limit: Only the first so many images.

    Raises:
        InputError: Annotations or images cannot be used, or images could not be read.
        MissingExtraError: pycocotools is not installed.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"evaluate_model: expected a limit of 1 or more, got {limit}")
    dataset = CocoDataset(Path(images), Path(annotations), limit)
    estimator = model
    if not isinstance(estimator, PoseEstimator):
        estimator = PoseEstimator(estimator, options=DecoderOptions(min_score=0.0))
    score = dataset.score(estimator.estimate, "scoring")
    if dataset.unreadable:
        raise EdgePoseError(f"{len(dataset.unreadable)} images could not be read: {dataset.unreadable[0]}")
    return score
