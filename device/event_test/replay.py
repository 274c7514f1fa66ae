"""Run of the rules over a source, with the camera loop, or over recorded poses, with the same tracker and engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ...runtime.errors import InputError
from ...runtime.io.images import Video
from ...runtime.io.messages import show_warning
from ...runtime.io.naming import get_device_name
from ...runtime.types import EstimateResult, Frame
from ..camera.build_loop import check_models
from ..camera.loop import Loop
from ..camera.shutdown import Shutdown
from ..config import Config
from ..events.engine import EventEngine
from ..events.wall_clock import WallClock
from ..monitor.health import Health
from ..monitor.stats import Stats
from ..sinks.base import Message
from ..sources.base import FrameSource
from ..sources.factory import open_source
from ..sources.opencv import ImageFiles
from ..tracking.one_euro import OneEuroSmoother
from ..tracking.tracker import Tracker
from .recorded_poses import RecordedPoses
from .report import Report
from .timed_images import TimedImages

MakeReport = Callable[[Callable[[Frame], float]], Report]
"""Makes the report of a run; its argument returns the time of a frame in seconds, on the clock of the rules."""


class Outcome(NamedTuple):
    """Result of a run."""

    report: Report
    code: int
    """Exit code: 0 done; 1 the source could not be read to its end."""
    has_remaining_threads: bool = False
    """True if a thread is still inside a driver or the network, so that the process must end with `end_process`."""


class _CoolStats(Stats):
    """Statistics of a board that is never hot: a test evaluates every frame."""

    def get_health(self, max_age_s: float = 0.0) -> Health:
        """Return a state without a temperature."""
        return Health(None, None, None)


class _OpenedSource:
    """Opens the source of a loop and remembers it, for the time of its frames."""

    def __init__(self, settings: Config, image_fps: float) -> None:
        self._settings, self._image_fps = settings, image_fps
        self._source: FrameSource | None = None

    def open(self) -> FrameSource:
        source = open_source(self._settings.camera)
        self._source = TimedImages(source, self._image_fps) if isinstance(source, ImageFiles) else source
        return self._source

    def get_time_s(self, frame: Frame) -> float:
        assert self._source is not None
        return self._source.get_time_ns(frame) / 1e9


def run_source(
    settings: Config,
    make_report: MakeReport,
    *,
    image_fps: float,
    seconds: float | None,
    start_s: float | None = None,
    camera: str = "",
) -> Outcome:
    """Run the camera loop over a source, as fast as its frames are processed.

    Args:
        settings: Checked settings, with the source and the rules.
        make_report: Makes the receiver of the frames.
        image_fps: Frame rate of a folder or list of images.
        seconds: Maximum run time of a camera in seconds; None: no limit.
        start_s: Unix time of the first frame, for schedules; None: now.
        camera: Name of the camera for rules that hold for some cameras only.

    Raises:
        EdgePoseError: The source or the model cannot be used.
    """
    opened = _OpenedSource(settings, image_fps)
    models = check_models(replace(settings, model=replace(settings.model, when_hot=(), when_hot_sha256=())))
    report = make_report(opened.get_time_s)
    loop = Loop(
        opened.open, models.make_loaders(settings.model.threads), [report], settings.loop,
        _CoolStats(models.paths[0].stem), events=settings.events, camera=camera,
        start_wall_s=start_s,
    )  # fmt: skip
    with Shutdown(loop.stop), _finish_video(report):
        loop.run(seconds)
    return Outcome(report, 1 if loop.unreadable_count else 0, bool(loop.list_remaining_threads()))


def run_recorded_poses(
    path: Path,
    settings: Config,
    make_report: MakeReport,
    *,
    image_fps: float,
    start_s: float | None = None,
    camera: str = "",
) -> Outcome:
    """Run the rules over recorded poses. People without numbers are tracked first.

    Args:
        path: JSON lines of edgepose.
        settings: Checked settings with the rules.
        make_report: Makes the receiver of the frames.
        image_fps: Frame rate of images.
        start_s: Unix time of the first frame, for schedules; None: now.
        camera: Camera whose frames are read.

    Raises:
        InputError: The first line cannot be used.
    """
    recorded = RecordedPoses(path, image_fps, camera)
    report = make_report(lambda frame: frame.timestamp_ns / 1e9)
    replay = _Replay(settings, recorded, report, WallClock(start_s), camera)
    with _finish_video(report):
        try:
            for frame, estimate in recorded.read():
                replay.process(frame, estimate)
                if report.finished:
                    break
        except InputError as error:
            if not report.summary.frames:
                raise
            show_warning(str(error))
            return Outcome(report, 1)
        finally:
            replay.finish()
    return Outcome(report, 0)


class _Replay:
    """Tracker, smoother and engine for recorded poses."""

    def __init__(
        self, settings: Config, recorded: RecordedPoses, report: Report, clock: WallClock, camera: str
    ) -> None:
        self._settings, self._recorded, self._report, self._camera = settings, recorded, report, camera
        self._clock = clock
        self._tracker: Tracker | None = None
        self._smoother = OneEuroSmoother()
        self._engine: EventEngine | None = None
        self._last: Message | None = None

    def process(self, frame: Frame, estimate: EstimateResult) -> None:
        """Evaluate one frame and report it."""
        time_s = frame.timestamp_ns / 1e9
        if self._tracker is None or self._engine is None:
            self._tracker = Tracker(self._recorded.skeleton)
            self._engine = EventEngine(self._settings.events, self._recorded.skeleton, camera=self._camera)
        poses = estimate.poses
        if not self._recorded.is_tracked:
            poses = self._tracker.update(poses, time_s)
            poses = self._smoother.update(poses, time_s) if self._settings.loop.smooth else poses
        estimate = EstimateResult(poses, estimate.timings_ms, skeleton=self._recorded.skeleton)
        height, width = frame.image.shape[:2]
        events = self._engine.update(poses, time_s, (width, height), self._clock.get_s(time_s))
        self._last = Message(
            frame, estimate, self._recorded.skeleton, get_device_name(), self._camera, events, self._engine.get_states()
        )
        self._report.send(self._last)

    def finish(self) -> None:
        """Report the end of everything that has started."""
        if self._engine is not None and self._last is not None and (events := self._engine.finish()):
            rules = self._engine.get_states()
            self._report.send(replace(self._last, events=events, rules=rules, only_events=True))


@contextmanager
def _finish_video(report: Report) -> Iterator[None]:
    """Finish the drawn video at the end, also after an error: what is drawn so far is kept."""
    try:
        yield
    finally:
        report.close_video()


def count_frames(source: str) -> int | None:
    """Return the number of frames of a video; None if it is unknown, or for another source."""
    path = Path(source)
    if not path.is_file():
        return None
    try:
        with Video(path) as video:
            return video.frame_count or None
    except InputError:
        return None
