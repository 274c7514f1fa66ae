"""One clip that is being recorded: its video, its snapshots, and the sidecar with its events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice

import cv2
import numpy as np

from ...runtime.errors import OutputError
from ...runtime.io.formats import FORMAT_VERSION
from ...runtime.io.redact import mask_credentials
from ...runtime.io.video_writer import VideoWriter, open_video_writer
from ...runtime.types import Image
from ..sinks.base import LOG, Message
from ..sinks.privacy import Privacy
from .folder import ClipFolder, PartFile, is_playable
from .ring import StoredFrame, encode_jpeg
from .sidecar import format_sidecar

_SNAPSHOT_QUALITY = 90
_MAX_EVENTS = 500
"""Maximum number of events in a sidecar; the number of the others is in `more_events`."""


class ClipVideo:
    """The video of a clip. Frames wait compressed until the thread of the sink has time to encode them.

    Attributes:
        waiting: Frames that are not encoded yet.
        waiting_bytes: Their size.
        count: Number of frames in the file.
        size: Width and height in pixels.
        drawback: Why the video is not H.264; "" if it is.
    """

    def __init__(self, folder: ClipFolder, stem: str, fps: float, frames: Iterable[StoredFrame]) -> None:
        """Begin with the frames before the event; the file is created with the first encoded frame."""
        self._folder, self._stem, self._fps = folder, stem, fps
        self.waiting = deque(frames)
        self.waiting_bytes = sum(frame.content.nbytes for frame in self.waiting)
        self.count, self.size, self.drawback = 0, (0, 0), ""
        self._first: StoredFrame | None = None
        self._last: StoredFrame | None = None
        self._part: PartFile | None = None
        self._writer: VideoWriter | None = None

    def append(self, frame: StoredFrame) -> None:
        """Add a frame."""
        self.waiting.append(frame)
        self.waiting_bytes += frame.content.nbytes

    def thin_out(self) -> None:
        """Drop every second frame that waits: a board that is too slow records fewer frames per second."""
        self.waiting = deque(islice(self.waiting, 0, None, 2))
        self.waiting_bytes = sum(frame.content.nbytes for frame in self.waiting)

    def encode_next(self) -> None:
        """Encode the oldest frame that waits.

        Raises:
            OutputError: The file cannot be written.
        """
        frame = self.waiting.popleft()
        self.waiting_bytes -= frame.content.nbytes
        image = frame.decode()
        if self._writer is None:
            self._open(image)
        assert self._writer is not None
        if image.shape[1::-1] != self.size:
            # The camera was opened again with another size. The file has one size only.
            image = np.asarray(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA), np.uint8)
        self._writer.write(image, frame.time_s)
        self._first, self._last = self._first or frame, frame
        self.count += 1

    def measure_size_bytes(self) -> int:
        """Return the current size of the file."""
        return 0 if self._part is None else self._part.measure_size_bytes()

    def finish(self) -> str:
        """Close the file and give it its name; drop the frames that still wait.

        Returns:
            The name of the file; "" if there is none.

        Raises:
            OutputError: The end of the file cannot be written. What plays gets its name nevertheless.
        """
        self.waiting.clear()
        self.waiting_bytes = 0
        writer, self._writer = self._writer, None
        part, self._part = self._part, None
        if part is None:
            return ""
        problem: OutputError | None = None
        try:
            if writer is not None:
                writer.close()
        except OutputError as error:
            problem = error
        try:
            name = self._publish(part, whole=problem is None and writer is not None)
        finally:
            part.close()
        if problem is not None:
            raise problem
        return name

    def abort(self) -> str:
        """Do as `finish`, after an error that is known already. Return the name of the file; "" if there is none."""
        with suppress(OutputError):
            return self.finish()
        return ""

    def describe(self) -> dict[str, object]:
        """Return the entries about the video in the sidecar."""
        first, last = self._first, self._last
        return {
            "start": None if first is None else first.captured_at,
            "end": None if last is None else last.captured_at,
            "duration_s": 0.0 if first is None or last is None else round(last.time_s - first.time_s, 3),
            "frames": self.count,
            "width": self.size[0],
            "height": self.size[1],
        }

    def _open(self, image: Image) -> None:
        self._part = self._folder.create_part(self._stem)
        self.size = image.shape[1], image.shape[0]
        self._writer = open_video_writer(self._part.path, *self.size, self._fps, fast=True)
        self.drawback = self._writer.drawback

    def _publish(self, part: PartFile, *, whole: bool) -> str:
        """Rename the file if it plays, else remove it."""
        try:
            if whole or is_playable(part.path):
                return self._folder.publish(part.path, f"{self._stem}.mp4")
            part.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self._folder.path}: cannot store clips: {error.strerror}") from None
        return ""


class Clip:
    """A clip with its events.

    Attributes:
        stem: Name of its files, without suffix.
        video: The video; None if only snapshots are wanted, or after an error.
        is_over: True if no more frames follow.
    """

    def __init__(self, folder: ClipFolder, stem: str, message: Message, privacy: Privacy) -> None:
        """Begin a clip; `message` names the camera."""
        self._folder, self.stem = folder, stem
        self.video: ClipVideo | None = None
        self.is_over = False
        self._events: list[str] = []
        self._more_events = 0
        self._snapshots: dict[str, str] = {}
        """Names that were planned, and those that the files got."""
        self._sidecar = ""
        """Name that the sidecar got; "" if it is not written yet."""
        self._header = {
            "version": FORMAT_VERSION,
            "device": message.device,
            **({"camera": message.camera} if message.camera else {}),
            "source": mask_credentials(message.frame.source) if "://" in message.frame.source else message.frame.source,
            "privacy": privacy,
        }

    def add_events(self, message: Message) -> bool:
        """Add the events of a message to the sidecar. Return True if they are the first ones."""
        is_first = not self._events
        free = _MAX_EVENTS - len(self._events)
        self._events += message.event_lines[:free]
        self._more_events += max(0, len(message.event_lines) - free)
        return is_first

    def write_snapshots(self, message: Message, image: Image) -> None:
        """Write the snapshot of a message unless it is written already.

        Raises:
            OutputError: It cannot be written.
        """
        for event in message.events:
            if event.snapshot.partition(".")[0] == self.stem and event.snapshot not in self._snapshots:
                try:
                    content = encode_jpeg(image, _SNAPSHOT_QUALITY).tobytes()
                except ValueError as error:
                    raise OutputError(f"{self._folder.path}: cannot store snapshots: {error}") from None
                self._snapshots[event.snapshot] = self._folder.write_file(event.snapshot, content)

    def write_sidecar(self, clip: str = "", *, complete: bool = False) -> None:
        """Write the sidecar, or replace it.

        Args:
            clip: Name of the video; "" if there is none yet.
            complete: True if nothing follows.

        Raises:
            OutputError: It cannot be written.
        """
        header = {
            **self._header,
            "clip": clip or None,
            "snapshots": list(self._snapshots.values()),
            **({} if self.video is None else self.video.describe()),
            "complete": complete,
            **({"more_events": self._more_events} if self._more_events else {}),
        }
        name = self._sidecar or f"{self.stem}.json"
        content = format_sidecar(header, self._events)
        self._sidecar = self._folder.write_file(name, content, replace=bool(self._sidecar))

    def finish(self) -> None:
        """Complete all files.

        Raises:
            OutputError: A file cannot be written.
        """
        self.is_over = True
        name = ""
        try:
            if self.video is not None:
                name = self.video.finish()
        finally:
            self.write_sidecar(name, complete=True)
        LOG.info("clips: %s", self._folder.path / (name or f"{self.stem}.json"))
