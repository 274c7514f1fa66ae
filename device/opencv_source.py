"""Frames through OpenCV: USB cameras (V4L2), network cameras (RTSP, HTTP) and video files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, monotonic_ns, sleep

import cv2
import numpy as np

from edgepose.runtime.errors import InputError
from edgepose.runtime.images import Video, list_pictures, read_picture
from edgepose.runtime.quiet import silenced
from edgepose.runtime.types import Frame

_NETWORK_TIMEOUT_MS = 5000


class _Camera:
    """What OpenCV has opened as `_capture`, known to the user as `_name`."""

    live = True
    _name: str
    _capture: cv2.VideoCapture

    def frames(self) -> Iterator[Frame]:
        """Until the camera is gone, which is an InputError."""
        for index in itertools.count():
            ok, image = self._capture.read()
            if not ok:
                raise InputError(f"{self._name}: no more frames come")
            yield Frame(np.asarray(image, np.uint8), self._name, index, monotonic_ns())

    def close(self) -> None:
        """Gives the camera back."""
        self._capture.release()


class V4l2Camera(_Camera):
    """A USB camera, /dev/video`number`. OpenCV has taken the frame when it gives it: the exposure was just before."""

    def __init__(self, number: int, width: int, height: int, fps: float | None) -> None:
        """Raises InputError where there is no such camera, it is in use, or it has no such size."""
        self._name = f"/dev/video{number}"
        if not Path(self._name).exists():
            there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
            raise InputError(f"{self._name}: there is no such camera (there are: {there})")
        with silenced(show_on_error=False):
            self._capture = cv2.VideoCapture(number, cv2.CAP_V4L2)
            if not self._capture.isOpened():
                busy = "in use by another program, or no camera" if os.access(self._name, os.R_OK) else "not readable"
                raise InputError(f"{self._name}: cannot be opened: {busy}")
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            if fps is not None:
                self._capture.set(cv2.CAP_PROP_FPS, fps)
        came = round(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if came != (width, height):
            self._capture.release()
            raise InputError(f"{self._name}: has no {width}x{height}; the nearest it gives is {came[0]}x{came[1]}")


class NetworkCamera(_Camera):
    """A camera at an rtsp:// or http:// address."""

    def __init__(self, address: str) -> None:
        """Raises InputError where nothing answers within five seconds."""
        # The address may hold a password: what is said of it has none.
        self._name = _without_password(address)
        with silenced(show_on_error=False):
            self._capture = cv2.VideoCapture()
            options = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS
            ]  # fmt: skip
            if not self._capture.open(address, cv2.CAP_FFMPEG, options):
                raise InputError(f"{self._name}: no video comes from there")


class VideoFile:
    """A video, over and over where `loop` says so; `live`: at the pace it was taken, else as fast as it is asked."""

    def __init__(self, path: Path, *, live: bool = False, loop: bool = False) -> None:
        """Raises InputError where it cannot be opened."""
        with Video(path) as video:
            self._fps = video.fps
        self._path, self.live, self._loop, self._closed = path, live, loop, False

    def frames(self) -> Iterator[Frame]:
        """From the first to the last."""
        index = 0
        due = monotonic()
        while not self._closed:
            with Video(self._path) as video:
                for frame in video:
                    if self._closed:
                        return
                    if self.live:
                        due = max(due + 1 / self._fps, monotonic() - 1)
                        sleep(max(0.0, due - monotonic()))
                    yield Frame(frame.image, str(self._path), index, monotonic_ns())
                    index += 1
            if not self._loop:
                return

    def close(self) -> None:
        """No more frames."""
        self._closed = True


class PictureFiles:
    """The pictures of a folder, one after the other, once."""

    live = False

    def __init__(self, folder: Path) -> None:
        """Raises InputError where there are none."""
        self._paths = list_pictures(folder)
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        """In the order of their names."""
        for index, path in enumerate(self._paths):
            if self._closed:
                return
            yield Frame(read_picture(path), str(path), index, monotonic_ns())

    def close(self) -> None:
        """No more frames."""
        self._closed = True


def _without_password(address: str) -> str:
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
