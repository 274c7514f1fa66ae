"""Sink that records a video of the camera with the skeletons drawn on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from time import monotonic

import cv2

from ...runtime.errors import InputError, OutputError
from .base import Message, Sink, SinkError
from .privacy import Privacy, apply_privacy

_CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "mp4v"}
_MIN_FREE_BYTES = 200e6
"""Recording stops while less than this is free on the disk."""


class RecordSink(Sink):
    """Sink that writes a video file with a constant frame rate.

    Frames are repeated or skipped, so that the video plays in real time. The video writer belongs to the sink's thread,
    which opens it, writes to it and releases it.
    """

    name = "record"

    def __init__(self, path: Path, privacy: Privacy, fps: float = 10.0) -> None:
        """Check the file name; the video is opened with the first frame.

        Args:
            path: Video file: .avi, .mp4 or .mkv.
            privacy: Privacy mode of the image.
            fps: Frame rate of the video.

        Raises:
            InputError: The file name extension is not supported.
        """
        if path.suffix.lower() not in _CODECS:
            raise InputError(f"{path}: unknown video format; use one of {', '.join(_CODECS)}")
        super().__init__()
        self._path, self._fps = path, fps
        self._privacy: Privacy = privacy
        self._writer: cv2.VideoWriter | None = None
        self._start_s = 0.0
        self._written_frames = 0

    @property
    def path(self) -> Path:
        """File that is written."""
        return self._path

    def open(self) -> None:
        """Check the folder. Raises OutputError if it does not exist."""
        if not self._path.parent.is_dir():
            raise OutputError(f"{self._path}: there is no folder {self._path.parent}")

    def write(self, message: Message) -> None:
        """Add the frame as many times as the time since the last frame requires.

        Raises:
            SinkError: Less than 200 MB are free on the disk, or the video cannot be opened.
        """
        if shutil.disk_usage(self._path.parent).free < _MIN_FREE_BYTES:
            raise SinkError(f"{self._path}: less than {_MIN_FREE_BYTES / 1e6:.0f} MB free on the disk")
        image = apply_privacy(message.frame, message.estimate, message.skeleton, self._privacy)
        if self._writer is None:
            size = image.shape[1], image.shape[0]
            codec = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, size)
            if not self._writer.isOpened():
                self._writer = None
                raise SinkError(f"{self._path}: cannot be written as a video")
            self._start_s = monotonic()
        due_frames = int((monotonic() - self._start_s) * self._fps) + 1
        while self._written_frames < due_frames:
            self._writer.write(image)
            self._written_frames += 1

    def close(self) -> None:
        """Finish the video file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
