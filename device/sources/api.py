"""Opening a source of frames from Python."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike, fspath
from typing import Any

from ..config import CameraConfig, Config
from .base import FrameSource
from .factory import open_source as open_configured


def open_source(source: str | int | PathLike[str] = "picamera2", **settings: Any) -> FrameSource:
    """Open a camera, a network stream, a video, an image, a folder of images, or the synthetic scene.

    >>> source = edgepose.open_source("rtsp://camera/1")
    >>> for frame in source.frames():
    ...     print(frame.image.shape)
    >>> source.close()

    Args:
        source: As `edgepose camera --source` takes it: `picamera2`, `v4l2:0`, `0`, an address, a path, `synthetic:3`.
        **settings: The other settings of `[camera]`: `width`, `height`, `fps`, `rotate`, `loop`, `real_time`,
            `controls`.

    Raises:
        InputError: There is no such source.
        TypeError: There is no such setting.
        ValueError: A setting is out of range.
    """
    return open_configured(camera_config(source, settings))


def camera_config(source: str | int | PathLike[str], settings: dict[str, Any]) -> CameraConfig:
    """Return the settings of `[camera]`. Raises as `open_source`."""
    text = str(source) if isinstance(source, int) else fspath(source)
    wanted = replace(CameraConfig(), source=text, **settings)
    Config(camera=wanted).check()
    return wanted
