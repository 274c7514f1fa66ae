"""A source of frames from what a user writes: picamera2, v4l2:0, an address, a file, a folder, synthetic:5."""

from __future__ import annotations

import difflib
from pathlib import Path

from edgepose.runtime.errors import InputError
from edgepose.runtime.images import VIDEOS

from .config import CameraConfig
from .source import FrameSource, SyntheticCamera

KINDS = ("picamera2", "v4l2:N", "rtsp://...", "http://...", "a video", "a folder of pictures", "synthetic[:PEOPLE]")


def open_source(wanted: CameraConfig) -> FrameSource:
    """The source, opened. Raises InputError saying what was expected and what came."""
    kind, _, rest = wanted.source.partition(":")
    if kind == "synthetic":
        people = _number(wanted.source, rest or "2", 100)
        return SyntheticCamera(people, wanted.width, wanted.height, (wanted.fps or 30.0) if wanted.real_time else None)
    if kind == "picamera2":
        from .picamera_source import PiCamera

        number = _number(wanted.source, rest or "0", 9)
        return PiCamera(
            wanted.width, wanted.height, wanted.fps, number=number, rotate=wanted.rotate, controls=wanted.controls
        )
    from . import opencv_source

    if kind == "v4l2":
        number = _number(wanted.source, rest or "0", 63)
        return opencv_source.V4l2Camera(number, wanted.width, wanted.height, wanted.fps)
    if kind in ("rtsp", "rtsps", "http", "https"):
        return opencv_source.NetworkCamera(wanted.source)
    path = Path(wanted.source)
    if path.is_dir():
        return opencv_source.PictureFiles(path)
    if path.suffix.lower() in VIDEOS:
        return opencv_source.VideoFile(path, live=wanted.real_time, loop=wanted.loop)
    close = difflib.get_close_matches(kind, ["picamera2", "v4l2", "synthetic", "rtsp", "http"], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InputError(f"{wanted.source}: expected {', '.join(KINDS)}{hint}")


def _number(source: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise InputError(f"{source}: expected a number from 0 to {most} after the colon")
    return int(text)
