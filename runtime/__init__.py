"""Inference on the device: TFLite models of the OpenPose family, decoded into people.

>>> from edgepose.runtime import PoseEstimator
>>> poses = PoseEstimator("model.tflite", threads=2).estimate(image).poses

Names are imported when they are first used: the command line should not load OpenCV to print its help.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

# OpenCV reads its limit once, when it is loaded. The limit of edgepose is lower and is checked before decoding
# (images.MAX_PIXELS); this one holds where a decoder finds another size than the header said.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))

if TYPE_CHECKING:
    from .decode import Decoder, DecoderOptions
    from .errors import EdgePoseError, InputError, MissingExtraError, ModelError, OutputError, UnknownNameError
    from .estimator import PoseEstimator
    from .model.manifest import ModelManifest
    from .skeleton import COCO18, Limb, Skeleton
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

_HOMES = {
    "decode": ("Decoder", "DecoderOptions"),
    "errors": ("EdgePoseError", "InputError", "MissingExtraError", "ModelError", "OutputError", "UnknownNameError"),
    "estimator": ("PoseEstimator",),
    "model.manifest": ("ModelManifest",),
    "skeleton": ("COCO18", "Limb", "Skeleton"),
    "types": (
        "Box", "EstimateResult", "Frame", "GridToFrame", "Keypoint", "Pose", "PoseFields", "Quantization", "Timings",
    ),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "COCO18", "Box", "Decoder", "DecoderOptions", "EdgePoseError", "EstimateResult", "Frame", "GridToFrame",
    "InputError", "Keypoint", "Limb", "MissingExtraError", "ModelError", "ModelManifest", "OutputError", "Pose",
    "PoseEstimator", "PoseFields", "Quantization", "Skeleton", "Timings", "UnknownNameError",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value
