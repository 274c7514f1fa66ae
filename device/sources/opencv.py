"""Frame sources based on OpenCV: USB cameras (V4L2), network cameras (RTSP, HTTP), video files, folders of images."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, monotonic_ns

import cv2
import numpy as np

from ...runtime.errors import InputError
from ...runtime.io.images import MAX_PIXELS, Video, inspect_file, read_frames
from ...runtime.io.redact import mask_credentials
from ...runtime.types import Frame, Image
from . import snapshot
from .base import FrameSource

LOG = logging.getLogger("edgepose")

_NETWORK_TIMEOUT_MS = 5000
_DEFAULT_SNAPSHOT_FPS = 2.0
_SNAPSHOT_ADDRESSES: set[str] = set()
"""Addresses that are known to return one image per request; only capture threads add to the set."""


class _OpenCvCamera(FrameSource):
    """Camera that OpenCV reads; `_name` is the name for messages, without credentials."""

    def __init__(self, name: str, capture: cv2.VideoCapture) -> None:
        super().__init__()
        self._name, self._capture = name, capture

    def frames(self) -> Iterator[Frame]:
        """Iterate until `stop` is called.

        Raises:
            InputError: The camera is lost, or its frames are too large.
        """
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
                raise InputError(
                    f"{self._name}: the frames are too large: {width}x{height}; expected at most {MAX_PIXELS} pixels"
                )
            yield _make_live_frame(np.asarray(image, np.uint8), self._name, index)

    def close(self) -> None:
        """Release the device."""
        self._capture.release()


class V4l2Camera(_OpenCvCamera):
    """USB camera. The capture time of a frame is the time at which OpenCV returns it, just after the exposure."""

    def __init__(self, device: int | str, width: int, height: int, fps: float | None) -> None:
        """Open the camera.

        Args:
            device: Number N of /dev/videoN, or the path of a device such as /dev/v4l/by-id/usb-...
            width: Width of the frames in pixels.
            height: Height of the frames in pixels.
            fps: Frames per second; default: chosen by the camera.

        Raises:
            InputError: The camera does not exist, is in use, or does not support this size.
        """
        path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
        name = str(path)
        if not path.exists():
            available = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
            raise InputError(f"{name}: there is no such camera; available: {available}")
        if not path.is_char_device():
            raise InputError(f"{name}: not a camera; expected a character device such as /dev/video0")
        _silence_opencv()
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_V4L2)
        super().__init__(name, capture)
        if not capture.isOpened():
            reason = (
                "in use by another program, or not a camera"
                if os.access(path, os.R_OK)
                else "no permission to read it; add the user to the group of the device"
            )
            raise InputError(f"{name}: cannot be opened: {reason}")
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
        size = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if size != (width, height):
            capture.release()
            raise InputError(f"{name}: does not support {width}x{height}; the nearest size is {size[0]}x{size[1]}")


class NetworkCamera(_OpenCvCamera):
    """Camera at an rtsp:// or http:// address that is a stream or returns one image per request (a snapshot)."""

    def __init__(self, address: str, snapshot_fps: float | None = None) -> None:
        """Connect to the camera.

        Args:
            address: URL, with or without credentials.
            snapshot_fps: Requests per second if the address returns one image per request; default: 2.

        Raises:
            InputError: The camera does not answer within five seconds, or the address has neither video nor images.
        """
        self._address, self._snapshot_fps = address, snapshot_fps or _DEFAULT_SNAPSHOT_FPS
        self._is_snapshot = False
        _silence_opencv()
        # The address can contain a password; the name for messages must not.
        super().__init__(mask_credentials(address), cv2.VideoCapture())
        options = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS
        ]  # fmt: skip
        if not self._capture.open(address, cv2.CAP_FFMPEG, options):
            answer = snapshot.probe_address(address)
            if not answer.is_snapshot:
                raise InputError(f"{self._name}: {answer.problem}")
            self._is_snapshot = True

    def frames(self) -> Iterator[Frame]:
        """Iterate until `stop` is called.

        Raises:
            InputError: The camera is lost, or its frames are too large.
        """
        count = 0
        if not self._is_snapshot:
            try:
                for frame in super().frames():
                    yield frame
                    count += 1
                return
            except InputError:
                # To FFmpeg, a snapshot is a stream that ends after its first frame.
                if count > 1 or not snapshot.is_snapshot(self._address):
                    raise
            self._capture.release()
            self._is_snapshot = True
            # The source is created again after each loss: log this only once per address.
            if self._name not in _SNAPSHOT_ADDRESSES:
                _SNAPSHOT_ADDRESSES.add(self._name)
                LOG.info(
                "%s returns one image per request; requesting %g images per second (change it with camera.fps)",
                self._name, self._snapshot_fps,
                )  # fmt: skip
        due = monotonic()
        for index in itertools.count(count):
            if self._stop_requested.wait(max(0.0, due - monotonic())):
                return
            due = max(due + 1 / self._snapshot_fps, monotonic())
            image = snapshot.fetch_image(self._address, self._stop_requested.is_set)
            if self._stop_requested.is_set():
                return
            yield _make_live_frame(image, self._name, index)


class VideoFiles(FrameSource):
    """Video files or animated images, one after the other. `Frame.timestamp_ns` is the time in the video."""

    finite = True

    def __init__(self, paths: Sequence[Path], *, live: bool = False, loop: bool = False) -> None:
        """Check that the files can be opened.

        Args:
            paths: Videos or animated images.
            live: True to deliver frames at the frame rate of the video, False as fast as they are read.
            loop: True to repeat the videos.

        Raises:
            InputError: A video cannot be opened.
        """
        super().__init__()
        for path in paths:
            if inspect_file(path) == "video":
                with Video(path):
                    pass
        self._paths, self.live, self._loop = paths, live, loop
        self.uses_media_time = not live

    def frames(self) -> Iterator[Frame]:
        """Iterate over the frames until the last video ends (never with `loop`), or until `stop` is called."""
        counts = dict.fromkeys(self._paths, 0)
        while True:
            for path in self._paths:
                for frame in self._read_video(path):
                    yield replace(frame, index=counts[path])
                    counts[path] += 1
                if self._stop_requested.is_set():
                    return
            if not self._loop:
                return

    def _read_video(self, path: Path) -> Iterator[Frame]:
        start_s = monotonic()
        for frame in read_frames(path):
            if self.live:
                due_s = start_s + frame.timestamp_ns / 1e9
                if self._stop_requested.wait(max(0.0, due_s - monotonic())):
                    return
                # A reader that is more than one second late does not catch up.
                start_s += max(0.0, monotonic() - due_s - 1)
            if self._stop_requested.is_set():
                return
            yield replace(frame, source=str(path), captured_ns=monotonic_ns())


class ImageFiles(FrameSource):
    """Image files, each read once, with all pages of a file.

    An image that cannot be read is logged, counted in `unreadable_count` and skipped.
    """

    live = False
    finite = True

    def __init__(self, paths: Sequence[Path]) -> None:
        """Remember the images.

        Args:
            paths: Image files.
        """
        super().__init__()
        self._paths = paths

    def frames(self) -> Iterator[Frame]:
        """Iterate over the images in the given order."""
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
                self.unreadable_count += 1
                LOG.error("%s", str(error) if isinstance(error, InputError) else f"{path}: {error}")


def _make_live_frame(image: Image, name: str, index: int) -> Frame:
    now = monotonic_ns()
    return Frame(image, name, index, now, captured_ns=now)


def _silence_opencv() -> None:
    """Suppress the messages of OpenCV for all threads, without redirecting the shared stderr."""
    opencv_logging = getattr(getattr(cv2, "utils", None), "logging", None)
    if opencv_logging is not None:
        opencv_logging.setLogLevel(opencv_logging.LOG_LEVEL_SILENT)
    elif (set_level := getattr(cv2, "setLogLevel", None)) is not None:
        set_level(0)
