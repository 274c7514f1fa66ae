"""Pictures and videos read from outside, with limits, and pictures written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError, OutputError
from .files import atomic
from .quiet import silenced
from .types import Frame, Image

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg")

_JPEG_QUALITY = 92
_MAX_PIXELS = 1 << 26
"""Largest picture read: 67 megapixels, 200 MB in memory."""

# OpenCV reads its limit once, when it is first asked to decode; it must be set before the import.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_MAX_PIXELS))

import cv2  # noqa: E402
import numpy as np  # noqa: E402


def read_picture(path: Path) -> Image:
    """A picture as (H, W, 3) uint8 BGR: grey is spread, alpha dropped, the EXIF orientation applied.

    Raises InputError where the file is missing, empty, no picture, or too large.
    """
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot read the picture: {error.strerror or error}") from None
    if not content.size:
        raise InputError(f"{path}: expected a picture, the file is empty")
    with silenced(show_on_error=False):  # the libraries behind OpenCV complain in lines of their own
        try:
            image = cv2.imdecode(content, cv2.IMREAD_COLOR)
        except cv2.error as error:
            if "CV_IO_MAX_IMAGE_PIXELS" in str(error) or "size.width" in str(error) or "pixels" in str(error):
                raise InputError(f"{path}: the picture has more than {_MAX_PIXELS} pixels") from None
            raise InputError(f"{path}: cannot decode the picture: {error.err}") from None
    if image is None:
        raise InputError(f"{path}: expected a picture ({', '.join(PICTURES)}), this cannot be decoded as one")
    return np.asarray(image, np.uint8)


def write_picture(path: Path, image: Image) -> None:
    """Writes a picture (H, W, 3) uint8 BGR, whole or not at all, as what the suffix says.

    Raises OutputError where it cannot be encoded or written.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    ok, encoded = cv2.imencode(path.suffix, image, options)
    if not ok:
        raise OutputError(f"{path}: the picture cannot be encoded")
    with atomic(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def list_pictures(folder: Path) -> list[Path]:
    """The pictures directly in a folder, by name. Raises InputError where there are none."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    except OSError as error:
        raise InputError(f"{folder}: cannot read the folder: {error.strerror}") from None
    if not found:
        raise InputError(f"{folder}: no pictures here (expected {', '.join(PICTURES)})")
    return found


class Video:
    """The frames of a video file, an iterable of known length (0 where the file does not tell) and frames a second."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where the file cannot be opened as a video."""
        if not path.is_file():
            raise InputError(f"{path}: no such video")
        with silenced(show_on_error=False):  # the libraries behind OpenCV complain in lines of their own
            self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(f"{path}: expected a video, this cannot be opened as one")
        self.path = path
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps <= 1000 else 25.0

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            timestamp_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            ok, image = self._capture.read()
            if not ok:
                break
            yield Frame(np.asarray(image, np.uint8), str(self.path), index, int(timestamp_ms * 1e6))
            index += 1
        if not index:
            raise InputError(f"{self.path}: the video has no frames that can be decoded")
