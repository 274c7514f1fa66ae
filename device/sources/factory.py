"""A source of frames from what a user writes: picamera2, v4l2:0, an address, a file, a folder, synthetic:5."""

from __future__ import annotations

import difflib
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io.atomic import expand_home
from ...runtime.io.images import IMAGES, VIDEOS, inspect_file
from ...runtime.io.redact import mask_credentials
from ..config import CameraConfig
from .base import FrameSource, SyntheticCamera
from .credentials import add_credentials

KINDS = (
    "picamera2", "v4l2:N", "/dev/video0", "rtsp://...", "http://...", "a video", "an image", "a folder of images",
    "synthetic[:PEOPLE]",
)  # fmt: skip
_SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps")


def open_source(wanted: CameraConfig) -> FrameSource:
    """The source, opened. Raises InputError saying what was expected and what came."""
    kind, _, rest = wanted.source.partition(":")
    if kind == "synthetic":
        people = _number(wanted.source, rest or "2", 100)
        return SyntheticCamera(people, wanted.width, wanted.height, (wanted.fps or 30.0) if wanted.real_time else None)
    if kind == "picamera2":
        from .picamera import PiCamera

        number = _number(wanted.source, rest or "0", 9)
        return PiCamera(
            wanted.width, wanted.height, wanted.fps, number=number, rotate=wanted.rotate, controls=wanted.controls
        )
    from . import opencv

    if kind == "v4l2":
        number = _number(wanted.source, rest or "0", 63)
        return opencv.V4l2Camera(number, wanted.width, wanted.height, wanted.fps)
    if "://" in wanted.source and kind.lower() in _SCHEMES:
        # FFmpeg knows schemes in lower case only.
        return opencv.NetworkCamera(add_credentials(kind.lower() + ":" + rest), wanted.fps)
    if not wanted.source:
        raise InputError(f"the source is empty; expected {', '.join(KINDS)}")
    path = Path(expand_home(wanted.source))
    if path.is_dir():
        return opencv.ImageFiles(path)
    if wanted.source.isascii() and wanted.source.isdigit() and not path.exists():
        # As in cv2.VideoCapture(0).
        return opencv.V4l2Camera(_number(wanted.source, wanted.source, 63), wanted.width, wanted.height, wanted.fps)
    if path.is_char_device() or wanted.source.startswith("/dev/"):
        return opencv.V4l2Camera(str(path), wanted.width, wanted.height, wanted.fps)
    if path.is_file():
        return _file(path, wanted)
    raise InputError(_describe_unknown(wanted.source))


def _describe_unknown(source: str) -> str:
    """What was expected instead of a source that is none."""
    path, kind = Path(expand_home(source)), source.partition(":")[0]
    if "://" in source:
        schemes = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        return f"{mask_credentials(source)}: expected an address that begins with {schemes}"
    if set("*?[") & set(source):
        return f"{source}: patterns are not expanded; give the folder of the images"
    if path.suffix.lower() in (*VIDEOS, *IMAGES) or "/" in source:
        return f"{mask_credentials(source)}: no such file, folder or device"
    close = difflib.get_close_matches(kind, ["picamera2", "v4l2", "synthetic", "rtsp", "http"], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{mask_credentials(source)}: expected {', '.join(KINDS)}{hint}"


def _file(path: Path, wanted: CameraConfig) -> FrameSource:
    """Open a video, an animation or an image, whatever its name says."""
    from . import opencv

    if inspect_file(path) in ("image", "pages"):
        return opencv.ImageFiles(path)
    return opencv.VideoFile(path, live=wanted.real_time, loop=wanted.loop)


def _number(source: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise InputError(f"{source}: expected a number from 0 to {most} after the colon")
    return int(text)
