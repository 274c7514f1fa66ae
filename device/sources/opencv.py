"""Frames through OpenCV: USB cameras (V4L2), network cameras (RTSP, HTTP), video files and folders of images."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, monotonic_ns

# FFmpeg's own lines on stderr; OpenCV reads this when it opens its first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from ...runtime.errors import InputError
from ...runtime.io.images import MAX_PIXELS, Video, inspect_file, list_images, read_frames
from ...runtime.io.redact import mask_credentials
from ...runtime.types import Frame, Image
from . import snapshot
from .base import FrameSource

LOG = logging.getLogger("edgepose")

_NETWORK_TIMEOUT_MS = 5000
_DEFAULT_SNAPSHOT_FPS = 2.0
_SNAPSHOT_ADDRESSES: set[str] = set()
"""Addresses that are known to give one image per request; only capture threads add to it."""


class _Camera(FrameSource):
    """What OpenCV has opened as `_capture`, known to the user as `_name`."""

    def __init__(self, name: str, capture: cv2.VideoCapture) -> None:
        super().__init__()
        self._name, self._capture = name, capture

    def frames(self) -> Iterator[Frame]:
        """Iterate until `stop` is called. Raises InputError where the camera is lost."""
        for index in itertools.count():
            if self._stop_requested.is_set():
                return
            ok, image = self._capture.read()
            if self._stop_requested.is_set():
                return
            if not ok:
                raise InputError(f"{self._name}: the camera stopped delivering frames")
            if image.shape[0] * image.shape[1] > MAX_PIXELS:
                height, width = image.shape[:2]
                raise InputError(f"{self._name}: frames of {width}x{height} pixels; expected at most {MAX_PIXELS}")
            yield _live_frame(np.asarray(image, np.uint8), self._name, index)

    def close(self) -> None:
        """Release the device."""
        self._capture.release()


class V4l2Camera(_Camera):
    """A USB camera. OpenCV has taken the frame when it gives it: the exposure was just before."""

    def __init__(self, device: int | str, width: int, height: int, fps: float | None) -> None:
        """Open /dev/video`device`, or the path of a device such as /dev/v4l/by-id/usb-....

        Raises InputError where there is no such camera, it is in use, or it has no such size.
        """
        path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
        name = str(path)
        if not path.exists():
            there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
            raise InputError(f"{name}: there is no such camera (there are: {there})")
        if not path.is_char_device():
            raise InputError(f"{name}: expected a camera (a character device), this is something else")
        _silence_opencv()
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_V4L2)
        super().__init__(name, capture)
        if not capture.isOpened():
            busy = "in use by another program, or no camera" if os.access(path, os.R_OK) else "not readable"
            raise InputError(f"{name}: cannot be opened: {busy}")
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
        came = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if came != (width, height):
            capture.release()
            raise InputError(f"{name}: has no {width}x{height}; the nearest it gives is {came[0]}x{came[1]}")


class NetworkCamera(_Camera):
    """A camera at an rtsp:// or http:// address.

    An address that gives one image per request (a snapshot) is asked `snapshot_fps` times a second.
    """

    def __init__(self, address: str, snapshot_fps: float | None = None) -> None:
        """Raises InputError where nothing answers within five seconds."""
        self._address, self._snapshot_fps = address, snapshot_fps or _DEFAULT_SNAPSHOT_FPS
        self._is_snapshot = False
        _silence_opencv()
        # The address may hold a password: what is said of it has none.
        super().__init__(mask_credentials(address), cv2.VideoCapture())
        options = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS
        ]  # fmt: skip
        if not self._capture.open(address, cv2.CAP_FFMPEG, options):
            answer = snapshot.ask(address)
            if not answer.is_snapshot:
                raise InputError(f"{self._name}: {answer.problem}")
            self._is_snapshot = True

    def frames(self) -> Iterator[Frame]:
        """Iterate until `stop` is called. Raises InputError where the camera is lost."""
        count = 0
        if not self._is_snapshot:
            try:
                for frame in super().frames():
                    yield frame
                    count += 1
                return
            except InputError:
                # A snapshot looks like a stream that ends after its first frame.
                if count > 1 or not snapshot.is_snapshot(self._address):
                    raise
            self._capture.release()
            self._is_snapshot = True
            # The source is made anew at every loss: said once for an address.
            if self._name not in _SNAPSHOT_ADDRESSES:
                _SNAPSHOT_ADDRESSES.add(self._name)
                LOG.info(
                "%s gives one image per request; asking %g times a second (camera.fps sets the rate)",
                self._name, self._snapshot_fps,
                )  # fmt: skip
        due = monotonic()
        for index in itertools.count(count):
            if self._stop_requested.wait(max(0.0, due - monotonic())):
                return
            due = max(due + 1 / self._snapshot_fps, monotonic())
            image = snapshot.fetch(self._address, self._stop_requested.is_set)
            if self._stop_requested.is_set():
                return
            yield _live_frame(image, self._name, index)


class VideoFile(FrameSource):
    """A video, over and over where `loop` says so; `live`: at the pace it was taken, else as fast as it is asked.

    `Frame.timestamp_ns` is the time in the video.
    """

    finite = True

    def __init__(self, path: Path, *, live: bool = False, loop: bool = False) -> None:
        """Take a video or an animated image. Raises InputError where it cannot be opened."""
        super().__init__()
        if inspect_file(path) == "video":
            with Video(path):
                pass
        self._path, self.live, self._loop = path, live, loop
        self.media_time = not live

    def frames(self) -> Iterator[Frame]:
        """Iterate from the first frame to the last, or until `stop` is called."""
        index = 0
        while not self._stop_requested.is_set():
            start_s = monotonic()
            for frame in read_frames(self._path):
                if self.live:
                    due_s = start_s + frame.timestamp_ns / 1e9
                    if self._stop_requested.wait(max(0.0, due_s - monotonic())):
                        return
                    # Whoever is late by more than a second does not rush through what was missed.
                    start_s += max(0.0, monotonic() - due_s - 1)
                if self._stop_requested.is_set():
                    return
                yield Frame(frame.image, str(self._path), index, frame.timestamp_ns, captured_ns=monotonic_ns())
                index += 1
            if not self._loop:
                return


class ImageFiles(FrameSource):
    """Images, one after the other, once; of a file of several pages or an animation all.

    One that cannot be read is logged, counted and left out.
    """

    live = False
    finite = True

    def __init__(self, path: Path) -> None:
        """Take one image or all images of a folder. Raises InputError where there are none."""
        super().__init__()
        self._paths = list_images(path) if path.is_dir() else [path]

    def frames(self) -> Iterator[Frame]:
        """Iterate in the order of the file names."""
        index = 0
        for path in self._paths:
            if self._stop_requested.is_set():
                return
            try:
                for frame in read_frames(path):
                    if self._stop_requested.is_set():
                        return
                    yield replace(frame, index=index, captured_ns=monotonic_ns())
                    index += 1
            except (InputError, cv2.error, MemoryError, ValueError, OSError) as error:
                self.unreadable += 1
                LOG.error("%s", str(error) if isinstance(error, InputError) else f"{path}: {error}")


def _live_frame(image: Image, name: str, index: int) -> Frame:
    now = monotonic_ns()
    return Frame(image, name, index, now, captured_ns=now)


def _silence_opencv() -> None:
    """Keep OpenCV's own lines off stderr, for all threads and without touching the descriptor that they share."""
    logging_ = getattr(getattr(cv2, "utils", None), "logging", None)
    if logging_ is not None:
        logging_.setLogLevel(logging_.LOG_LEVEL_SILENT)
    elif (set_level := getattr(cv2, "setLogLevel", None)) is not None:
        set_level(0)
