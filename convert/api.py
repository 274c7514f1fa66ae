"""Python API of the conversion: `convert_model` and `evaluate_model`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from ..runtime import PoseEstimator
from ..runtime.decode import DecoderOptions
from ..runtime.errors import EdgePoseError
from ..runtime.io.formats import check_coco_order
from ..runtime.skeleton import Skeleton, load_skeleton
from .convert import ConversionOptions, ConversionResult, check_output, convert
from .importers import detect
from .ir import input_sizes
from .validate.coco import CocoDataset, CocoScore

_PATH_OPTIONS = ("calibration", "report", "verify", "annotations", "empty")


def convert_model(
    source: str | PathLike[str],
    output: str | PathLike[str],
    *,
    note: Callable[[str], object] = lambda text: None,
    **options: Any,
) -> ConversionResult:
    """Convert a network to a TFLite file with a manifest, like `edgepose convert`. Requires the extra `convert`.

    >>> edgepose.convert_model("mobilenet_thin", "thin.tflite", precision="int8", calibration="images/")

    Args:
        source: The name of a published model, or the path of a frozen graph, SavedModel, Keras model, checkpoint, NumPy
            weights, OpenVINO IR or TFLite file.
        output: The path of the `.tflite` file to write. The file appears complete or not at all.
        note: Called with each step as text.
        **options: The options of `edgepose convert`: `precision`, `input_size` ("432x368" or a tuple of width and
            height), `skeleton` (a name, a TOML file or a `Skeleton`), `calibration`, `verify`, `annotations`, ...
            All are listed in `ConversionOptions`.

    Returns:
        The path, the manifest, and the verdict with `ok`, `reason`, `doubts` and `advice`. The file is written even if
        `ok` is False.

    Raises:
        ModelError: The network cannot be converted.
        InputError: Images or annotations cannot be read.
        OutputError: The file cannot be written.
        TypeError: An option is unknown or has the wrong type.
    """
    names = [item.name for item in fields(ConversionOptions)]
    for name, value in options.items():
        if name not in names:
            raise TypeError(f"convert_model: no option {name!r}; expected one of {', '.join(names)}")
        if name in _PATH_OPTIONS and value is not None:
            options[name] = Path(value)
        if name == "input_size" and isinstance(value, str):
            options[name] = input_sizes.parse(value)
        if name == "skeleton" and isinstance(value, str | PathLike):
            options[name] = load_skeleton(value)
        elif name == "skeleton" and not isinstance(value, Skeleton):
            raise TypeError(f"convert_model: skeleton: expected a name, a path or a Skeleton, got {value!r}")
        if name in ("value_range", "mean", "scale") and value is not None:
            options[name] = _to_numbers(name, value)
    path = Path(output)
    check_output(path)
    return convert(
        detect.find_source(str(source)), path, ConversionOptions(**options), lambda text: (note(text), None)[1]
    )


def _to_numbers(name: str, value: Any) -> tuple[float, ...]:
    """Return one number or several as a tuple."""
    try:
        return tuple(float(v) for v in ((value,) if isinstance(value, int | float) else value))
    except (TypeError, ValueError):
        raise TypeError(f"convert_model: {name}: expected numbers, got {value!r}") from None


def evaluate_model(
    model: str | PathLike[str] | PoseEstimator | None,
    images: str | PathLike[str],
    annotations: str | PathLike[str],
    *,
    limit: int | None = None,
) -> CocoScore:
    """Evaluate a model on COCO keypoint annotations. Requires the extra `eval`.

    >>> edgepose.evaluate_model("edgepose-small", "val2017", "person_keypoints_val2017.json").ap

    Args:
        model: The path or name of a model, an estimator, or None for the default model. For a path or name, poses of
            any score are evaluated, because AP ranks poses by score. An estimator is used with its own options.
        images: The folder with the images.
        annotations: The annotation file.
        limit: The maximum number of images. Default: all.

    Returns:
        AP and AR, each 0 to 1.

    Raises:
        InputError: The annotations or the folder of images cannot be used, or the model does not have COCO's keypoints.
        EdgePoseError: Some images cannot be read.
        MissingExtraError: pycocotools is not installed.
        ValueError: `limit` is less than 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"evaluate_model: expected a limit of 1 or more, got {limit}")
    dataset = CocoDataset(Path(images), Path(annotations), limit)
    estimator = model
    if not isinstance(estimator, PoseEstimator):
        estimator = PoseEstimator(estimator, options=DecoderOptions(min_score=0.0))
    check_coco_order(estimator.manifest.skeleton_table)
    score = dataset.score(estimator.estimate, "scoring")
    if dataset.unreadable:
        raise EdgePoseError(f"{len(dataset.unreadable)} images cannot be read; the first: {dataset.unreadable[0]}")
    return score
