"""Camera loop from frames to sinks, with recovery from lost cameras, heat and broken sinks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from time import monotonic

from ...runtime import PoseEstimator
from ...runtime.errors import EdgePoseError, InputError
from ...runtime.io.naming import get_device_name
from ...runtime.skeleton import Skeleton
from ...runtime.types import EstimateResult
from ..config import LoopConfig
from ..events.config import EventsConfig
from ..events.engine import EventEngine
from ..monitor.stats import Stats
from ..monitor.status_file import StatusFile
from ..monitor.systemd import SystemdNotifier
from ..sinks.base import LOG, Message, Sink, stop_all
from ..sources.base import FrameSource
from ..sources.opening import SourceOpener
from ..sources.rate_limit import RateLimitedSource
from ..tracking.one_euro import OneEuroSmoother
from ..tracking.tracker import Tracker
from .pipeline import INFERENCE_THREAD_NAME, Pipeline, PipelineResult
from .thermal import ThermalController

_POLL_S = 0.1
"""Interval at which the loop checks if it has to stop, while it waits for a frame or a camera."""
_STALL_TIMEOUT_S = 10.0
"""A camera that delivers no frame for this time is treated as lost."""
_STEADY_S = 10.0
"""A camera that was lost counts as recovered after it has delivered frames for this time."""
_LOG_INTERVAL_S = 60.0
_RECONNECT_DELAYS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Delay before each attempt to open a lost camera; the last value is repeated."""
_SINKS_STOP_TIMEOUT_S = 1.0
"""Together with the 0.5 s of the pipeline, the loop stops in less than two seconds."""
_OPENING_GRACE_S = 0.3
"""When the loop stops, it waits this long for a camera that is being opened."""
_STUCK_TIMEOUT_S = 60.0
"""A driver call that takes longer than this will never return: only a new process helps."""
_MAX_STUCK_THREADS = 8


class _EndReason(Enum):
    """Reasons why the loop stopped reading a source."""

    FINISHED = auto()
    """The source has no more frames."""
    STOPPED = auto()
    """The loop has to stop."""
    UNREADABLE = auto()
    """A file cannot be read to its end; it is not opened again."""
    CAMERA_LOST = auto()
    MODEL_CHANGED = auto()
    """The board temperature requires another model."""
    PAUSED = auto()
    """A pause was requested; the camera is closed until it ends."""


class CameraStuckError(EdgePoseError):
    """A camera driver does not return and cannot be interrupted: the process must be restarted."""


class _LossLog:
    """Log of camera losses: the first loss at once, further losses as a count per minute, and the recovery."""

    def __init__(self, label: str = "") -> None:
        """Begin without losses; `label` is written before every line."""
        self._label = label
        self._losses = self._unlogged = 0
        self._logged_s = 0.0

    def record_loss(self, problem: str) -> None:
        """Count a loss, or a failed attempt to open the camera."""
        now = monotonic()
        self._losses += 1
        if self._losses == 1:
            LOG.warning("%scamera lost: %s", self._label, problem)
        else:
            self._unlogged += 1
            if (since := now - self._logged_s) < _LOG_INTERVAL_S:
                return
            LOG.warning("%scamera lost %d more times in %.0f s: %s", self._label, self._unlogged, since, problem)
        self._logged_s, self._unlogged = now, 0

    def record_recovery(self) -> None:
        """Log that the camera delivers frames again, if it was lost before."""
        if self._losses:
            LOG.warning("%scamera works again after %d losses or failed attempts to open it", self._label, self._losses)
        self._losses = self._unlogged = 0


class _StallDetector:
    """Detector for a live source that stopped delivering frames.

    Frames that the rate limit skips count as delivered: the camera works, but the loop does not want these frames.
    A source that is not live, such as a file, never stalls.
    """

    def __init__(self, source: RateLimitedSource, timeout_s: float) -> None:
        self._source, self._timeout_s = source, timeout_s
        self._skipped = 0
        self._first_frame_s: float | None = None
        self._last_frame_s = monotonic()

    def record_frame(self) -> None:
        """Note that a frame arrived now."""
        self._last_frame_s = monotonic()
        if self._first_frame_s is None:
            self._first_frame_s = self._last_frame_s

    def check(self) -> None:
        """Raise InputError if the source has delivered no frame for `timeout_s`."""
        if self._source.skipped != self._skipped:
            self._last_frame_s, self._skipped = monotonic(), self._source.skipped
        if self._source.live and monotonic() - self._last_frame_s > self._timeout_s:
            raise InputError(f"no frame for {self._timeout_s:g} s")

    @property
    def delivery_time_s(self) -> float:
        """Time from the first frame to the last one; 0 before the first frame."""
        return 0.0 if self._first_frame_s is None else self._last_frame_s - self._first_frame_s


@dataclass(frozen=True)
class _SourceRun:
    """Run of one opened source with one model."""

    pipeline: Pipeline
    source: RateLimitedSource
    skeleton: Skeleton
    model_index: int
    dropped_before: int
    """Frames that earlier runs dropped."""
    skipped_before: int
    """Frames that earlier runs skipped."""


class Loop:
    """Camera loop from one source to any number of sinks.

    It runs until `stop` is called, the source ends, the run time is over, or the reader of stdout has closed the pipe.

    Ownership: the thread that calls `run` owns the loop, its tracker and the counters of the statistics. It owns a
    source only from the end of `SourceOpener` until the pipeline starts; then the capture thread of the pipeline owns
    the source. Other threads may only call `stop`, and set or clear the event `pause`.
    """

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        estimator_loaders: Sequence[Callable[[], PoseEstimator]],
        sinks: Sequence[Sink],
        settings: LoopConfig,
        stats: Stats,
        notifier: SystemdNotifier | None = None,
        status: StatusFile | None = None,
        pause: threading.Event | None = None,
        *,
        events: EventsConfig | None = None,
        shared_sinks: Sequence[Sink] = (),
        camera: str = "",
        device: str = "",
    ) -> None:
        """Create the loop without starting it.

        Args:
            open_source: Opens the source; called again after each loss of the camera.
            estimator_loaders: One function per model: first the normal model, then the cheaper models for a hot board.
                A function is called when its model is needed.
            sinks: Receivers of the poses, not started.
            settings: Table `[loop]` of the configuration.
            stats: Statistics that the loop updates.
            notifier: Messages to systemd; default: none are sent.
            status: Status file; default: none is written.
            pause: Set by any thread while the loop has to pause; default: it never pauses.
            events: Rules; default: none.
            shared_sinks: Further receivers, which the caller starts before `run` and stops after it.
            camera: Name of the camera in messages and in the log, if there are several.
            device: Display name of this device in messages; default: `naming.get_device_name()`.
        """
        self._open_source, self._estimator_loaders, self._sinks = open_source, estimator_loaders, sinks
        self._settings, self._stats = settings, stats
        self._notifier, self._status = notifier or SystemdNotifier({}), status or StatusFile("")
        self._loaded: tuple[int, PoseEstimator] | None = None
        self._tracker: Tracker | None = None
        self._smoother = OneEuroSmoother()
        self._events = events or EventsConfig()
        self._engine: EventEngine | None = None
        self._last_message: Message | None = None
        """The last message; kept only if there are rules, which may have to report an end."""
        self._thermal = ThermalController(len(estimator_loaders), settings.hot_c, settings.cool_c)
        self._stop = threading.Event()
        self._pause = pause or threading.Event()
        self._logged_s = monotonic()
        self._attempt = 0
        self._shared_sinks, self._camera, self._device = shared_sinks, camera, device
        self._label = f"{camera}: " if camera else ""
        self._loss_log = _LossLog(self._label)
        self._stuck: list[tuple[threading.Thread, float]] = []
        self.unreadable_count = 0
        """Number of images of a folder, or videos, that could not be read to their end; each was logged."""

    def stop(self) -> None:
        """Ask the loop to stop soon. May be called from a signal handler or another thread."""
        self._stop.set()

    def list_remaining_threads(self) -> list[threading.Thread]:
        """Return the threads that are still inside a driver, the network or a sink."""
        self._stuck = [(thread, since_s) for thread, since_s in self._stuck if thread.is_alive()]
        return [thread for thread, _ in self._stuck]

    def run(self, seconds: float | None = None) -> None:
        """Run until the loop stops.

        Args:
            seconds: Maximum run time in seconds; default: no limit.

        Raises:
            EdgePoseError: The source or a sink cannot be opened at the start, or a camera driver does not return
                (`CameraStuckError`).
        """
        end_s = None if seconds is None else monotonic() + seconds
        source = self._open(end_s)
        started: list[Sink] = []
        try:
            for sink in self._sinks:
                sink.start()
                started.append(sink)
            while source is not None and not self._should_stop(end_s):
                # From here on, `_run_source` or the pipeline closes the source.
                opened, source = source, None
                reason = self._run_source(opened, end_s)
                self.unreadable_count += opened.unreadable_count
                source = self._open_next(reason, end_s)
        finally:
            self._publish_final_events()
            self._stats.state = "stopping"
            self._notifier.notify_stopping()
            if source is not None:
                source.close()
            self._remember_stuck([sink.thread for sink in stop_all(started, _SINKS_STOP_TIMEOUT_S)])

    def _should_stop(self, end_s: float | None) -> bool:
        is_late = end_s is not None and monotonic() >= end_s
        return is_late or self._stop.is_set() or any(sink.finished for sink in (*self._sinks, *self._shared_sinks))

    def _run_source(self, source: FrameSource, end_s: float | None) -> _EndReason:
        """Run one opened source with one model. The source is closed afterwards."""
        run = self._prepare_run(source, end_s)
        if run is None:
            return _EndReason.STOPPED
        try:
            with run.pipeline:
                return self._process_frames(run, end_s)
        except InputError as error:
            return self._handle_source_error(source, error)
        finally:
            self._update_frame_counts(run)
            self._remember_stuck(run.pipeline.remaining_threads)

    def _prepare_run(self, source: FrameSource, end_s: float | None) -> _SourceRun | None:
        """Load the model and create the pipeline; None if the loop has to stop before the model can be used.

        Closes the source if it does not return a run.
        """
        run: _SourceRun | None = None
        try:
            estimator = self._load_estimator(end_s)
            if estimator is not None:
                self._stats.camera = source.description
                self._stats.model = f"{estimator.manifest.network} {estimator.manifest.precision}"
                limited = RateLimitedSource(source, self._current_every_nth(), self._settings.max_fps)
                run = _SourceRun(
                    Pipeline(limited, estimator),
                    limited,
                    estimator.manifest.skeleton_table,
                    self._thermal.model_index,
                    self._stats.dropped,
                    self._stats.skipped,
                )
        finally:
            if run is None:
                source.close()
        return run

    def _load_estimator(self, end_s: float | None) -> PoseEstimator | None:
        """Return the model for the current temperature; None if the loop has to stop before the network is free."""
        model_index = self._thermal.model_index
        while any(thread.name == INFERENCE_THREAD_NAME for thread in self.list_remaining_threads()):
            # The network of the last pipeline still runs. It must end before another thread uses or frees it.
            if self._should_stop(end_s):
                return None
            self._stop.wait(_POLL_S)
        if self._loaded is None or self._loaded[0] != model_index:
            self._loaded = None  # free the old model first: a small board does not have memory for both
            self._loaded = model_index, self._estimator_loaders[model_index]()
        return self._loaded[1]

    def _process_frames(self, run: _SourceRun, end_s: float | None) -> _EndReason:
        """Read, track and publish results until the source ends, the model changes or the loop has to stop.

        Raises:
            InputError: The camera is lost or delivers no frames, or the file cannot be read.
        """
        stall = _StallDetector(run.source, _STALL_TIMEOUT_S)
        while not self._should_stop(end_s):
            if self._pause.is_set():
                if not run.source.finite:
                    return _EndReason.PAUSED
                # A file would start again from its first frame, so it stays open; the pipeline waits for this thread.
                self._wait_while_paused(end_s)
                continue
            try:
                result = run.pipeline.wait_for_result(_POLL_S)
            except TimeoutError:
                stall.check()
                self._notifier.notify_alive()
                continue
            if result is None:
                return _EndReason.FINISHED
            stall.record_frame()
            if stall.delivery_time_s >= _STEADY_S:
                self._attempt = 0
                self._loss_log.record_recovery()
            time_s = run.source.get_time_ns(result.frame) / 1e9
            result = self._track_and_smooth(result, time_s, run.skeleton)
            self._update_frame_counts(run)
            self._publish(result, self._make_message(result, time_s, run.skeleton))
            self._update_thermal_level(run.source)
            # A file keeps its model: it would start again from its first frame.
            if self._thermal.model_index != run.model_index and not run.source.finite:
                return _EndReason.MODEL_CHANGED
        return _EndReason.STOPPED

    def _handle_source_error(self, source: FrameSource, error: InputError) -> _EndReason:
        if source.finite:
            LOG.error("%s%s", self._label, error)
            self.unreadable_count += 1
            return _EndReason.UNREADABLE
        self._record_camera_loss(str(error))
        return _EndReason.CAMERA_LOST

    def _update_frame_counts(self, run: _SourceRun) -> None:
        self._stats.dropped = run.dropped_before + run.pipeline.dropped
        self._stats.skipped = run.skipped_before + run.source.skipped

    def _track_and_smooth(self, result: PipelineResult, time_s: float, skeleton: Skeleton) -> PipelineResult:
        """Track people and smooth keypoints. People keep their number if the camera is lost or the model changes."""
        poses = result.estimate.poses
        if self._settings.track:
            if self._tracker is None:
                self._tracker = Tracker(skeleton)
            poses = self._tracker.update(poses, time_s)
        if self._settings.smooth:
            poses = self._smoother.update(poses, time_s)
        return replace(result, estimate=EstimateResult(poses, result.estimate.timings_ms, skeleton=skeleton))

    def _make_message(self, result: PipelineResult, time_s: float, skeleton: Skeleton) -> Message:
        """Make the message of one frame, with what the rules report."""
        message = Message(result.frame, result.estimate, skeleton, self._device or get_device_name(), self._camera)
        if not self._events:
            return message
        if self._engine is None:
            self._engine = EventEngine(self._events, skeleton, camera=self._camera)
        height, width = result.frame.image.shape[:2]
        events = self._engine.update(result.estimate.poses, time_s, (width, height))
        self._last_message = replace(message, events=events, rules=self._engine.get_states())
        return self._last_message

    def _publish_final_events(self) -> None:
        """End what the rules have started, when no more frames follow."""
        if self._engine is None or self._last_message is None:
            return
        if events := self._engine.finish():
            message = replace(self._last_message, events=events, rules=self._engine.get_states(), only_events=True)
            for sink in (*self._sinks, *self._shared_sinks):
                sink.send(message)

    def _publish(self, result: PipelineResult, message: Message) -> None:
        """Send one frame to the sinks, and update statistics, status file and systemd."""
        is_first = self._stats.processed == 0
        self._stats.record_frame(result)
        for sink in (*self._sinks, *self._shared_sinks):
            sink.send(message)
        if self._stats.state != "running":
            self._stats.state, self._stats.problem = "running", ""
        if is_first:
            self._notifier.notify_ready()
        self._notifier.notify_alive()
        self._status.update(self._stats, now=is_first)
        if monotonic() - self._logged_s >= _LOG_INTERVAL_S:
            self._logged_s = monotonic()
            self._log_statistics()

    def _log_statistics(self) -> None:
        snapshot = self._stats.take_snapshot()
        text = (
            f"{snapshot.fps:.1f} FPS, {snapshot.latency_ms:.0f} ms, {snapshot.people} people, {snapshot.processed} "
            f"frames, {snapshot.dropped} dropped"
            + (f", {snapshot.memory_mb:.0f} MB" if snapshot.memory_mb is not None else "")
            + (f", {snapshot.temperature_c:.0f} C" if snapshot.temperature_c is not None else "")
            + "".join(f", {flag}" for flag in snapshot.flags)
        )
        LOG.info("%s%s", self._label, text)
        self._notifier.notify_status(text)

    def _current_every_nth(self) -> int:
        """Interval between processed frames: the configured one times that of the thermal level."""
        return self._settings.every_nth * self._thermal.every_nth

    def _update_thermal_level(self, source: RateLimitedSource) -> None:
        if self._thermal.update(self._stats.get_health()):
            self._stats.level = self._thermal.level
            LOG.warning(
                "%sboard temperature: the loop now runs at slow-down level %d (0: normal)",
                self._label, self._thermal.level,
            )  # fmt: skip
            source.every_nth = self._current_every_nth()

    def _record_camera_loss(self, problem: str) -> None:
        self._loss_log.record_loss(problem)
        self._stats.state, self._stats.problem = "camera lost", problem
        self._stats.camera_losses += 1
        self._status.update(self._stats, now=True)

    def _open_next(self, reason: _EndReason, end_s: float | None) -> FrameSource | None:
        """Open the source again if the reason allows it; None if the loop ends."""
        if reason is _EndReason.CAMERA_LOST:
            return self._reopen_source(end_s)
        if reason in (_EndReason.MODEL_CHANGED, _EndReason.PAUSED):
            return self._reopen_source_at_once(end_s)
        return None

    def _open(self, end_s: float | None) -> FrameSource | None:
        """Wait for the end of a pause, then open the source; None if the loop has to stop before it is open.

        Raises:
            InputError: The source cannot be opened.
            CameraStuckError: The driver has not returned within `_STUCK_TIMEOUT_S`.
        """
        self._wait_while_paused(end_s)
        if self._should_stop(end_s):
            return None
        opening = SourceOpener(self._open_source)
        start_s = monotonic()
        while not opening.wait(_POLL_S):
            is_stuck = monotonic() - start_s > _STUCK_TIMEOUT_S
            if self._should_stop(end_s) or is_stuck:
                opening.wait(_OPENING_GRACE_S)
                opening.abandon()
                self._stuck.append((opening.thread, start_s))
                if is_stuck:
                    raise CameraStuckError(
                        f"the camera could not be opened within {_STUCK_TIMEOUT_S:g} s; restart the process"
                    )
                return None
            self._report_alive()
        return opening.take()

    def _reopen_source_at_once(self, end_s: float | None) -> FrameSource | None:
        """Open the source after a change of the model or a pause, without a delay; a failure counts as a loss."""
        try:
            return self._open(end_s)
        except InputError as error:
            self._record_camera_loss(str(error))
            return self._reopen_source(end_s)

    def _reopen_source(self, end_s: float | None) -> FrameSource | None:
        """Try to open a lost camera until it works; None if the loop has to stop.

        The delay grows with each attempt and is reset after `_STEADY_S` of steady frames, so that a camera that answers
        and fails at once is not opened many times a second.
        """
        while True:
            until_s = monotonic() + _RECONNECT_DELAYS_S[min(self._attempt, len(_RECONNECT_DELAYS_S) - 1)]
            self._attempt += 1
            while (left_s := until_s - monotonic()) > 0 and not self._pause.is_set():
                if self._should_stop(end_s):
                    return None
                self._report_alive()
                self._check_stuck()
                self._stop.wait(min(_POLL_S, left_s))
            if self._should_stop(end_s):
                return None
            try:
                return self._open(end_s)
            except InputError as error:
                self._loss_log.record_loss(str(error))
                self._stats.problem = str(error)

    def _wait_while_paused(self, end_s: float | None) -> None:
        """Wait until the pause ends or the loop has to stop. Returns at once if no pause was requested."""
        if not self._pause.is_set() or self._should_stop(end_s):
            return
        LOG.info("%spaused", self._label)
        self._stats.record_pause()
        self._notifier.notify_status("paused")
        self._status.update(self._stats, now=True)
        while self._pause.is_set() and not self._should_stop(end_s):
            self._report_alive()
            self._check_stuck()
            self._stop.wait(_POLL_S)
        if not self._pause.is_set():
            LOG.info("%sresumed", self._label)
            self._stats.state = "starting"
            self._notifier.notify_status("resumed")

    def _report_alive(self) -> None:
        """Tell systemd and the status file that the loop is alive while it waits for the camera or is paused."""
        self._notifier.notify_alive()
        self._status.update(self._stats)

    def _remember_stuck(self, threads: Sequence[threading.Thread]) -> None:
        now = monotonic()
        self._stuck += [(thread, now) for thread in threads]

    def _check_stuck(self) -> None:
        """Raise CameraStuckError if a driver does not return: this process cannot open its device again."""
        self.list_remaining_threads()
        now = monotonic()
        if len(self._stuck) > _MAX_STUCK_THREADS or any(now - since > _STUCK_TIMEOUT_S for _, since in self._stuck):
            raise CameraStuckError("the camera driver does not return; restart the process")
