"""Multi-person 2-D pose estimation on edge devices.

>>> import edgepose
>>> result = edgepose.PoseEstimator("edgepose-small").estimate("photo.jpg")
>>> for pose in result:
...     print(pose.score, pose["right_wrist"], pose.angle("right_elbow"))
>>> result.save("drawn.jpg")

>>> for frame, poses in edgepose.stream("picamera2"):
...     print([pose.person for pose in poses])

`setup.py` installs this file as the root of the package `edgepose`. Names are imported on first use, so that
`import edgepose` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import events
    from .benchmarks.api import profile_model
    from .convert.api import convert_model, evaluate_model
    from .device.api import run_camera, stream
    from .device.camera.pipeline import Pipeline
    from .device.sources.api import open_source
    from .device.tracking.one_euro import OneEuroSmoother
    from .device.tracking.tracker import Tracker
    from .runtime import (
        COCO18,
        EdgePoseError,
        EstimateResult,
        Frame,
        InputError,
        Keypoint,
        MissingExtraError,
        ModelError,
        OutputError,
        Pose,
        PoseEstimator,
        Skeleton,
        UnknownNameError,
        load_skeleton,
    )
    from .runtime.version import __version__
    from .runtime.visualize.draw import draw_poses

_NAMES_BY_MODULE = {
    "benchmarks.api": ("profile_model",),
    "convert.api": ("convert_model", "evaluate_model"),
    "device.api": ("run_camera", "stream"),
    "device.camera.pipeline": ("Pipeline",),
    "device.sources.api": ("open_source",),
    "device.tracking.one_euro": ("OneEuroSmoother",),
    "device.tracking.tracker": ("Tracker",),
    "runtime": (
        "COCO18", "EdgePoseError", "EstimateResult", "Frame", "InputError", "Keypoint", "MissingExtraError",
        "ModelError", "OutputError", "Pose", "PoseEstimator", "Skeleton", "UnknownNameError", "load_skeleton",
    ),
    "runtime.version": ("__version__",),
    "runtime.visualize.draw": ("draw_poses",),
}  # fmt: skip
_MODULE_OF_NAME = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = [
    "COCO18", "EdgePoseError", "EstimateResult", "Frame", "InputError", "Keypoint", "MissingExtraError", "ModelError",
    "OneEuroSmoother", "OutputError", "Pipeline", "Pose", "PoseEstimator", "Skeleton", "Tracker",
    "UnknownNameError", "__version__", "convert_model", "draw_poses", "evaluate_model", "events", "load_skeleton",
    "open_source", "profile_model", "run_camera", "stream",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "events":
        return import_module(".events", __name__)
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_MODULE_OF_NAME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
