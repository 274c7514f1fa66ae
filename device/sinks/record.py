"""A video of what the camera saw, with the skeletons on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from time import monotonic

import cv2

from ...runtime.errors import InputError, OutputError
from .base import Message, Sink, SinkError
from .privacy import Privacy, apply_privacy

_CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "mp4v"}
_LEAST_FREE = 200e6
"""Bytes that are left on the disk for others."""


class RecordSink(Sink):
    """Writes a video at `fps`; frames are repeated or left out so that it plays at the speed of life.

    The video writer belongs to the sink's thread: it is opened, written and released there and nowhere else.
    """

    name = "record"

    def __init__(self, path: Path, privacy: Privacy, fps: float = 10.0) -> None:
        """Raises InputError for a kind of file that is not known."""
        if path.suffix.lower() not in _CODECS:
            raise InputError(f"{path}: expected a video to write: {', '.join(_CODECS)}")
        super().__init__()
        self._path, self._fps = path, fps
        self._privacy: Privacy = privacy
        self._writer: cv2.VideoWriter | None = None
        self._start = 0.0
        self._frames = 0

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self._path

    def open(self) -> None:
        """Raises OutputError where the folder is not there."""
        if not self._path.parent.is_dir():
            raise OutputError(f"{self._path}: there is no folder {self._path.parent}")

    def write(self, message: Message) -> None:
        """Adds the frame as often as time has passed since the last."""
        if shutil.disk_usage(self._path.parent).free < _LEAST_FREE:
            raise SinkError(f"{self._path}: less than {_LEAST_FREE / 1e6:.0f} MB left on the disk")
        image = apply_privacy(message.frame, message.estimate, message.skeleton, self._privacy)
        if self._writer is None:
            size = image.shape[1], image.shape[0]
            codec = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, size)
            if not self._writer.isOpened():
                self._writer = None
                raise SinkError(f"{self._path}: cannot be written as a video")
            self._start = monotonic()
        due = int((monotonic() - self._start) * self._fps) + 1
        while self._frames < due:
            self._writer.write(image)
            self._frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
