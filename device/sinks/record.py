"""Sink that records videos of the camera with the skeletons and the states of the rules drawn on them."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...runtime.errors import InputError, OutputError
from ...runtime.io.video_writer import WRITABLE_SUFFIXES, VideoWriter, open_video_writer
from ...runtime.types import Image
from ..events.draw import RecentEvents, draw_rules
from .base import LOG, Message, Sink, SinkError
from .frame_clock import FrameClock
from .privacy import Privacy, apply_privacy

_MIN_FREE_BYTES = 200e6
"""Recording stops while less than this is free on the disk."""
_OPENCV_FPS = 10.0
"""Frame rate of the videos that OpenCV writes; H.264 keeps the time of every frame."""
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_TIME_PATTERN = r"-\d{8}T\d{6}Z(-\d+)?"
_MIN_BYTES = 1_000_000


@dataclass(frozen=True)
class Rotation:
    """When a recording continues in a new file, and how much of it is kept.

    Attributes:
        minutes: Length of a file in minutes, 1 to 360. FFmpeg keeps the index of the file in memory, about 8 MB per
            hour at 30 FPS.
        size_bytes: Size of a file; None: no limit.
        limit_bytes: Size of all files of this recording together, those of earlier runs included. The oldest are
            removed. None: no limit.
    """

    minutes: int = 60
    size_bytes: int | None = None
    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.minutes <= 360:
            raise ValueError(f"minutes: expected 1 to 360, got {self.minutes}")
        for name, value in (("size", self.size_bytes), ("limit", self.limit_bytes)):
            if value is not None and value < _MIN_BYTES:
                raise ValueError(f"{name}: expected 1MB or more, got {value} bytes")
        if self.limit_bytes is not None and self.size_bytes is not None and self.size_bytes * 2 > self.limit_bytes:
            raise ValueError(
                f"limit: expected at least twice the size of a file, got {self.limit_bytes} and {self.size_bytes} bytes"
            )

    @property
    def max_file_bytes(self) -> int | None:
        """Size at which a new file begins: a tenth of the limit if only the limit is given."""
        if self.size_bytes is None and self.limit_bytes is not None:
            return self.limit_bytes // 10
        return self.size_bytes


class RecordSink(Sink):
    """Sink that writes video files, each frame at its own time.

    A recording is never overwritten: the first file has the given name if there is no such file yet and no limit, every
    other file the name and the time of its first frame. A file with the given name can be one of the user's own, so it
    is never removed. A new file begins when the last one is long or large enough, when the
    size of the frames changes, and after an error. The video writer belongs to the sink's thread, which opens it,
    writes to it and closes it.
    """

    name = "record"

    def __init__(self, path: Path, privacy: Privacy, rotation: Rotation | None = None) -> None:
        """Check the file name; the video is opened with the first frame.

        Args:
            path: Video file: .mp4, .m4v, .mov, .mkv or .avi.
            privacy: Privacy mode of the image.
            rotation: When a new file begins; default: every hour, all files are kept.

        Raises:
            InputError: The file name extension is not supported.
        """
        if path.suffix.lower() not in WRITABLE_SUFFIXES:
            raise InputError(f"{path}: unknown video format; use one of {', '.join(WRITABLE_SUFFIXES)}")
        super().__init__()
        self._path, self._rotation = path, rotation or Rotation()
        self._privacy: Privacy = privacy
        self._writer: VideoWriter | None = None
        self._size = 0, 0
        self._start_s = self._time_s = 0.0
        self._clock = FrameClock()
        self._is_described = False
        self._recent_events = RecentEvents()

    @property
    def path(self) -> Path:
        """File that is written first, unless it exists or there is a limit."""
        return self._path

    def open(self) -> None:
        """Check the folder. Raises OutputError if it does not exist."""
        if not self._path.parent.is_dir():
            raise OutputError(f"{self._path}: there is no folder {self._path.parent}")

    def write(self, message: Message) -> None:
        """Append the frame.

        Raises:
            SinkError: Less than 200 MB are free on the disk, or the video cannot be written.
        """
        if shutil.disk_usage(self._path.parent).free < _MIN_FREE_BYTES:
            raise SinkError(f"{self._path}: less than {_MIN_FREE_BYTES / 1e6:.0f} MB free on the disk")
        image = apply_privacy(message.frame, message.estimate, message.skeleton, self._privacy)
        self._time_s = self._clock.advance(message.frame)
        if message.rules:
            events = self._recent_events.update(message.events, self._time_s)
            image = draw_rules(image, message.rules, message.estimate.poses, events)
        try:
            if self._writer is not None and self._is_complete(image):
                self._close_writer()
            if self._writer is None:
                self._writer = self._open_writer(image)
            self._writer.write(image, self._time_s)
        except OutputError as error:
            with suppress(OutputError):
                self._close_writer()
            raise SinkError(str(error)) from None

    def close(self) -> None:
        """Finish the video file."""
        try:
            self._close_writer()
        except OutputError as error:
            LOG.warning("%s: %s", self.name, error)

    def _is_complete(self, image: Image) -> bool:
        """Return True if the next frame belongs to a new file."""
        if self._writer is None:
            return False
        max_bytes = self._rotation.max_file_bytes
        return (
            self._size != (image.shape[1], image.shape[0])
            or self._time_s - self._start_s >= self._rotation.minutes * 60
            or (max_bytes is not None and self._writer.measure_size_bytes() >= max_bytes)
        )

    def _open_writer(self, image: Image) -> VideoWriter:
        self._size, self._start_s = (image.shape[1], image.shape[0]), self._time_s
        path = self._find_unused_path()
        self._remove_oldest_files()
        writer = open_video_writer(path, *self._size, _OPENCV_FPS)
        if not self._is_described:
            self._is_described = True
            LOG.info("%s: %s, %s", self.name, path, writer.description)
            if writer.drawback:
                LOG.warning("%s: the video is not H.264: %s", self.name, writer.drawback)
        return writer

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _find_unused_path(self) -> Path:
        path, number = self._path, 1
        has_limit = self._rotation.limit_bytes is not None
        while path.exists() or path.is_symlink() or (has_limit and path == self._path):
            time = datetime.now(UTC).strftime(_TIME_FORMAT)
            path = self._path.with_stem(f"{self._path.stem}-{time}" + (f"-{number}" if number > 1 else ""))
            number += 1
        return path

    def _remove_oldest_files(self) -> None:
        """Remove the oldest files of this recording, so that there is space for one more within the limit."""
        limit, maximum = self._rotation.limit_bytes, self._rotation.max_file_bytes
        if limit is None or maximum is None:
            return
        files = self._list_files()
        total = sum(size for _, size in files)
        for path, size in files:
            if total + maximum <= limit:
                return
            try:
                path.unlink()
            except OSError as error:
                raise OutputError(f"{path}: an old recording cannot be removed: {error.strerror}") from None
            total -= size

    def _list_files(self) -> list[tuple[Path, int]]:
        """Return the files of this recording that have a time in their name with their sizes, oldest first."""
        pattern = re.compile(re.escape(self._path.stem) + _TIME_PATTERN + re.escape(self._path.suffix))
        found = []
        for path in self._path.parent.iterdir():
            if pattern.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                status = path.stat()
                found.append((status.st_mtime_ns, path, status.st_size))
        return [(path, size) for _, path, size in sorted(found)]
