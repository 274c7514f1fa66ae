"""Factory for frame sources, from names such as picamera2, v4l2:0, synthetic:5, an address, a file or a folder."""

from __future__ import annotations

import difflib
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io.atomic import expand_home
from ...runtime.io.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, inspect_file
from ...runtime.io.redact import mask_credentials
from ..config import CameraConfig
from .base import FrameSource, SyntheticCamera
from .credentials import add_credentials

SOURCE_EXAMPLES = (
    "picamera2", "v4l2:N", "/dev/video0", "rtsp://...", "http://...", "a video", "an image", "a folder of images",
    "synthetic[:PEOPLE]",
)  # fmt: skip
"""Forms of a source name, for help and error messages."""
_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps")


def open_source(settings: CameraConfig) -> FrameSource:
    """Open the source that the settings name.

    Args:
        settings: Settings of the camera; `source` selects the kind of source.

    Returns:
        The opened source, owned by the calling thread.

    Raises:
        InputError: The name is not valid, or the source cannot be opened.
    """
    kind, _, rest = settings.source.partition(":")
    if kind == "synthetic":
        people = _parse_number(settings.source, rest or "2", 100)
        return SyntheticCamera(
            people, settings.width, settings.height, (settings.fps or 30.0) if settings.real_time else None
        )
    if kind == "picamera2":
        from .picamera import PiCamera

        number = _parse_number(settings.source, rest or "0", 9)
        return PiCamera(
            settings.width,
            settings.height,
            settings.fps,
            number=number,
            rotate=settings.rotate,
            sensor_size=settings.sensor_size,
            controls=settings.controls,
        )
    from . import opencv

    if kind == "v4l2":
        number = _parse_number(settings.source, rest or "0", 63)
        return opencv.V4l2Camera(number, settings.width, settings.height, settings.fps)
    if "://" in settings.source and kind.lower() in _SCHEMES:
        # FFmpeg accepts schemes in lower case only.
        return opencv.NetworkCamera(add_credentials(kind.lower() + ":" + rest), settings.fps)
    if not settings.source:
        raise InputError(f"the source is empty; use one of {', '.join(SOURCE_EXAMPLES)}")
    path = Path(expand_home(settings.source))
    if path.is_dir():
        return opencv.ImageFiles(path)
    if settings.source.isascii() and settings.source.isdigit() and not path.exists():
        # A plain number means a camera, as in cv2.VideoCapture(0).
        return opencv.V4l2Camera(
            _parse_number(settings.source, settings.source, 63), settings.width, settings.height, settings.fps
        )
    if path.is_char_device() or settings.source.startswith("/dev/"):
        return opencv.V4l2Camera(str(path), settings.width, settings.height, settings.fps)
    if path.is_file():
        return _open_file(path, settings)
    raise InputError(_explain_unknown_source(settings.source))


def _explain_unknown_source(source: str) -> str:
    """Return the error message for a name that matches no source."""
    path, kind = Path(expand_home(source)), source.partition(":")[0]
    if "://" in source:
        schemes = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        return (
            f"{mask_credentials(source)}: this scheme is not supported; expected an address that begins with {schemes}"
        )
    if set("*?[") & set(source):
        return f"{source}: file name patterns are not supported; give the folder of the images"
    if path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES) or "/" in source:
        return f"{mask_credentials(source)}: no such file, folder or device"
    close = difflib.get_close_matches(kind, ["picamera2", "v4l2", "synthetic", "rtsp", "http"], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{mask_credentials(source)}: unknown source; expected {', '.join(SOURCE_EXAMPLES)}{hint}"


def _open_file(path: Path, settings: CameraConfig) -> FrameSource:
    """Open a video, an animation or an image. The content decides, not the file name."""
    from . import opencv

    if inspect_file(path) in ("image", "pages"):
        return opencv.ImageFiles(path)
    return opencv.VideoFile(path, live=settings.real_time, loop=settings.loop)


def _parse_number(source: str, text: str, maximum: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= maximum):
        raise InputError(f"{source}: expected a number from 0 to {maximum}, got {text}")
    return int(text)
