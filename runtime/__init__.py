"""Pose estimation with TFLite models of the OpenPose family.

>>> from edgepose.runtime import PoseEstimator
>>> poses = PoseEstimator("model.tflite", threads=2).estimate(image).poses

Names are imported on first use, so that the command line does not load OpenCV to print its help.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

# OpenCV reads this limit once, when it is loaded. edgepose has a lower limit and checks it against the file's header
# before decoding (images.MAX_PIXELS). This limit is for files whose real size differs from their header.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))

if TYPE_CHECKING:
    from .decode import Decoder, DecoderOptions
    from .errors import EdgePoseError, InputError, MissingExtraError, ModelError, OutputError, UnknownNameError
    from .estimator import PoseEstimator
    from .model.manifest import ModelManifest
    from .skeleton import COCO18, Limb, Skeleton, load_skeleton
    from .types import (
        Box,
        EstimateResult,
        Frame,
        GridToFrame,
        Keypoint,
        Pose,
        PoseFields,
        Quantization,
        Timings,
    )

_NAMES_BY_MODULE = {
    "decode": ("Decoder", "DecoderOptions"),
    "errors": ("EdgePoseError", "InputError", "MissingExtraError", "ModelError", "OutputError", "UnknownNameError"),
    "estimator": ("PoseEstimator",),
    "model.manifest": ("ModelManifest",),
    "skeleton": ("COCO18", "Limb", "Skeleton", "load_skeleton"),
    "types": (
        "Box", "EstimateResult", "Frame", "GridToFrame", "Keypoint", "Pose", "PoseFields", "Quantization", "Timings",
    ),
}  # fmt: skip
_MODULE_OF_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = [
    "COCO18", "Box", "Decoder", "DecoderOptions", "EdgePoseError", "EstimateResult", "Frame", "GridToFrame",
    "InputError", "Keypoint", "Limb", "MissingExtraError", "ModelError", "ModelManifest", "OutputError", "Pose",
    "PoseEstimator", "PoseFields", "Quantization", "Skeleton", "Timings", "UnknownNameError",
    "load_skeleton",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_MODULE_OF_NAME[name]}", __name__), name)
    globals()[name] = value
    return value
