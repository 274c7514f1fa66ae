"""Python API for frame sources."""

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
        source: Source as for `edgepose camera --source`: `picamera2`, `v4l2:0`, `0`, an address, a path, `synthetic:3`.
        **settings: The other settings of the configuration table `[camera]`: `width`, `height`, `fps`, `rotate`,
            `loop`, `real_time`, `controls`.

    Returns:
        The opened source. The calling thread owns it and has to close it.

    Raises:
        InputError: The source does not exist or cannot be opened.
        TypeError: There is no setting of this name.
        ValueError: A setting is out of range.
    """
    return open_configured(make_camera_config(source, settings))


def make_camera_config(source: str | int | PathLike[str], settings: dict[str, Any]) -> CameraConfig:
    """Make and check the settings `[camera]` from the arguments of `open_source`.

    Raises:
        TypeError: There is no setting of this name.
        ValueError: A setting is out of range.
    """
    text = str(source) if isinstance(source, int) else fspath(source)
    config = replace(CameraConfig(), source=text, **settings)
    Config(camera=config).check()
    return config
