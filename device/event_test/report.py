"""Receiver of the frames of a test: prints their events and draws them into a video."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...runtime.io.messages import Progress, show_note
from ...runtime.io.printable import make_printable
from ...runtime.types import Frame
from ...runtime.visualize.writer import DrawnVideo
from ..events.draw import RecentEvents, draw_rules
from ..events.format import format_event_line
from ..events.text import describe_event
from ..sinks.base import Message, Sink
from ..sinks.privacy import Privacy, apply_privacy
from .summary import Summary


@dataclass(frozen=True)
class ReportSettings:
    """What a report prints and draws.

    Attributes:
        as_json: Print JSON lines instead of text.
        names: Names of all rules, for the width of the columns.
        video: File for the drawn video; None: none is written.
        privacy: Privacy mode of the drawn video.
        start_s: Unix time of the first frame; None if unknown.
        is_file: Frames are read from a file, faster or slower than they were taken: without `start_s`, their wall-clock
            time is unknown.
        seconds: Stop after this time of the source, in seconds; None: at its end.
    """

    as_json: bool
    names: tuple[str, ...]
    video: Path | None = None
    privacy: Privacy = "none"
    start_s: float | None = None
    is_file: bool = False
    seconds: float | None = None


class Report(Sink):
    """Prints the events of each frame, and draws the frame.

    It has no thread of its own: the thread that calls `send` does the work, so that no frame of a video is dropped.

    Attributes:
        summary: Frames, people and events so far.
    """

    name = "report"

    def __init__(self, settings: ReportSettings, get_time_s: Callable[[Frame], float], progress: Progress) -> None:
        """Begin without frames.

        Args:
            settings: What is printed and drawn.
            get_time_s: Returns the time of a frame in seconds, on the clock of the rules.
            progress: Counts the frames.
        """
        super().__init__()
        self._settings, self._get_time_s, self._progress = settings, get_time_s, progress
        self._first_s: float | None = None
        self._recent = RecentEvents()
        self._video: DrawnVideo | None = None
        self._width = max(map(len, settings.names), default=0)
        self.summary = Summary()

    def start(self) -> None:
        """Do nothing: there is no thread to start."""

    def stop(self) -> None:
        """Do nothing: `close_video` ends the drawn video."""

    def send(self, message: Message) -> None:
        """Print the events of a frame, and draw it."""
        frame_s = self._get_time_s(message.frame)
        if self._first_s is None:
            self._first_s = frame_s
        time_s = frame_s - self._first_s
        if not message.only_events:
            seconds = self._settings.seconds
            if seconds is not None and time_s >= seconds:
                self.finished = True
            if self.finished:
                return
            self.summary.add_frame(time_s, message.estimate.poses)
        self.summary.add_events(message.events, message.rules)
        self._print(message)
        if not message.only_events:
            self._draw(message, time_s)
            self._progress.update()

    def close_video(self) -> None:
        """Finish the drawn video, if there is one, and give it its name.

        Raises:
            OutputError: Not all frames could be written.
        """
        video, self._video = self._video, None
        if video is not None:
            video.close(complete=True)
            show_note(f"video with the events: {video.path}")

    def _print(self, message: Message) -> None:
        assert self._first_s is not None
        for event in message.events:
            if self._settings.as_json:
                line = format_event_line(
                    event, message.frame, device=message.device, captured_at=self._find_capture_time(message),
                    camera=message.camera,
                )  # fmt: skip
            else:
                time, since = (format_time(moment_s - self._first_s) for moment_s in (event.time_s, event.started_s))
                is_late = event.state == "started" and since != time
                words = describe_event(event, since if is_late else "")
                line = make_printable(f"{time}  {event.rule:{self._width}}  {words}")
            _print_line(line)

    def _find_capture_time(self, message: Message) -> str | None:
        """Return the wall-clock time of a frame in RFC 3339; None if it is unknown."""
        if self._settings.start_s is None or self._first_s is None:
            return None if self._settings.is_file else message.capture_time
        moment = datetime.fromtimestamp(self._settings.start_s + self._get_time_s(message.frame) - self._first_s, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _draw(self, message: Message, time_s: float) -> None:
        if self._settings.video is None:
            return
        image = apply_privacy(message.frame, message.estimate, message.skeleton, self._settings.privacy)
        events = self._recent.update(message.events, time_s)
        image = draw_rules(image, message.rules, message.estimate.poses, events)
        if self._video is None:
            self._video = DrawnVideo(message.frame.source, self._settings.video, image.shape[1], image.shape[0])
        self._video.write(image, round(time_s * 1e9))


def format_time(seconds: float) -> str:
    """Format seconds as `mm:ss.t`, or `h:mm:ss.t` from one hour on."""
    tenths = max(0, round(seconds * 10))
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes:02d}"
    return f"{head}:{tenths / 10:04.1f}"


def print_summary(lines: Sequence[str], *, as_json: bool) -> None:
    """Print the summary: to stdout after the events, with JSON to stderr."""
    if as_json:
        for line in lines:
            show_note(line)
        return
    print()
    print("\n".join(map(make_printable, lines)), flush=True)


def _print_line(line: str) -> None:
    """Print a line to stdout without damaging a progress bar on stderr."""
    if sys.stderr.isatty() and sys.stdout.isatty():
        from tqdm import tqdm

        tqdm.write(line, file=sys.stdout)
    else:
        print(line, flush=True)
