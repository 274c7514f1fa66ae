"""Factory for frame sources, from names such as picamera2, v4l2:0, synthetic:5, an address, a file or a folder."""

from __future__ import annotations

import difflib
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io.atomic import expand_home
from ...runtime.io.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, inspect_file, list_images
from ...runtime.io.inputs import match_pattern
from ...runtime.io.redact import mask_credentials
from ..config import CameraConfig
from .base import FrameSource, SyntheticCamera
from .credentials import add_credentials

SOURCE_EXAMPLES = (
    "picamera2", "v4l2:N", "/dev/video0", "rtsp://...", "http://...", "a video", "an image", "a folder of images",
    "a pattern such as *.jpg", "- (JPEG images from stdin)", "synthetic[:PEOPLE]",
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
    if settings.source in ("-", "/dev/stdin"):
        from .pipe import JpegPipe

        return JpegPipe(live=settings.real_time)
    if not settings.source:
        raise InputError(f"the source is empty; use one of {', '.join(SOURCE_EXAMPLES)}")
    path = Path(expand_home(settings.source))
    if path.is_dir():
        return opencv.ImageFiles(list_images(path))
    if settings.source.isascii() and settings.source.isdigit() and not path.exists():
        # A plain number means a camera, as in cv2.VideoCapture(0).
        return opencv.V4l2Camera(
            _parse_number(settings.source, settings.source, 63), settings.width, settings.height, settings.fps
        )
    if path.is_char_device() or settings.source.startswith("/dev/"):
        return opencv.V4l2Camera(str(path), settings.width, settings.height, settings.fps)
    if path.is_file():
        return _open_files([path], settings)
    if set("*?[") & set(settings.source) and "://" not in settings.source:
        return _open_files(_find_files(settings.source), settings)
    raise InputError(_explain_unknown_source(settings.source))


def _explain_unknown_source(source: str) -> str:
    """Return the error message for a name that matches no source."""
    path, kind = Path(expand_home(source)), source.partition(":")[0]
    if "://" in source:
        schemes = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        return (
            f"{mask_credentials(source)}: this scheme is not supported; expected an address that begins with {schemes}"
        )
    if path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES) or "/" in source:
        return f"{mask_credentials(source)}: no such file, folder or device"
    close = difflib.get_close_matches(kind, ["picamera2", "v4l2", "synthetic", "rtsp", "http"], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{mask_credentials(source)}: unknown source; expected {', '.join(SOURCE_EXAMPLES)}{hint}"


def _find_files(pattern: str) -> list[Path]:
    """Return the files that match a pattern, sorted by name. Raises InputError if there are none."""
    files = [path for path in map(Path, match_pattern(expand_home(pattern), pattern)) if path.is_file()]
    if not files:
        raise InputError(f"{pattern}: no file matches this pattern")
    return files


def _open_files(paths: list[Path], settings: CameraConfig) -> FrameSource:
    """Open images, or videos and animations. The content decides, not the file name."""
    from . import opencv

    are_images = {path: inspect_file(path) in ("image", "pages") for path in paths}
    if all(are_images.values()):
        return opencv.ImageFiles(paths)
    for path, is_image in are_images.items():
        if is_image:
            raise InputError(f"{settings.source}: expected only images or only videos, got {path} besides videos")
    return opencv.VideoFiles(paths, live=settings.real_time, loop=settings.loop)


def _parse_number(source: str, text: str, maximum: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= maximum):
        raise InputError(f"{source}: expected a number from 0 to {maximum}, got {text}")
    return int(text)
