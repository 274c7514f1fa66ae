"""The camera loop: frames in, poses out, for months: through lost cameras, heat and dead sinks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum, auto
from time import monotonic

from ...runtime import PoseEstimator
from ...runtime.errors import EdgePoseError, InputError
from ...runtime.skeleton import Skeleton
from ...runtime.types import EstimateResult
from ..config import LoopConfig
from ..monitor.stats import Stats
from ..monitor.status_file import StatusFile
from ..monitor.systemd import Notifier
from ..sinks.base import LOG, Message, Sink, stop_all
from ..sources.base import FrameSource
from ..sources.opening import Opening
from ..sources.rate_limit import RateLimitedSource
from ..tracking.one_euro import OneEuroSmoother
from ..tracking.tracker import Tracker
from .pipeline import INFERENCE_THREAD, Pipeline, Result
from .thermal import Adaptation

_POLL_S = 0.1
"""How long the loop waits for a frame or a device before it looks whether it shall stop."""
_STALL_TIMEOUT_S = 10.0
"""A camera that gives nothing for so long is lost."""
_STEADY_S = 10.0
"""A camera that was lost counts as back once it has given frames for so long."""
_LOG_INTERVAL_S = 60.0
_RECONNECT_DELAYS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before each attempt to open a camera that was lost."""
_SINKS_STOP_TIMEOUT_S = 1.0
"""With the pipeline's half second, the end takes less than two seconds."""
_OPENING_GRACE_S = 0.3
"""How long the end of the loop waits for a camera that is just being opened."""
_STUCK_TIMEOUT_S = 60.0
"""A driver that has not returned for so long never will: only a new process helps."""
_MAX_STUCK_THREADS = 8


class _End(Enum):
    """Why the loop has left an opened source."""

    FINISHED = auto()
    """The source has no more frames, or the loop shall stop."""
    LOST = auto()
    MODEL_CHANGED = auto()


class CameraStuckError(EdgePoseError):
    """A camera driver that does not return and cannot be interrupted: the process must be started anew."""


class _LossLog:
    """Logs the first loss of a camera at once, then a count per minute, and that it is back once it is steady."""

    def __init__(self) -> None:
        self._losses = self._unlogged = 0
        self._logged_s = 0.0

    def lost(self, problem: str) -> None:
        """Count a loss, or a failed attempt to open the camera."""
        now = monotonic()
        self._losses += 1
        if self._losses == 1:
            LOG.warning("camera lost: %s", problem)
        else:
            self._unlogged += 1
            if (since := now - self._logged_s) < _LOG_INTERVAL_S:
                return
            LOG.warning("camera lost %d more times in %.0f s: %s", self._unlogged, since, problem)
        self._logged_s, self._unlogged = now, 0

    def steady(self) -> None:
        """The camera gives frames again."""
        if self._losses:
            LOG.warning("camera: frames are coming again, after %d losses or failed attempts", self._losses)
        self._losses = self._unlogged = 0


class Loop:
    """Runs until `stop` is called, the source ends, `seconds` are over, or the reader of stdout has gone.

    Ownership: the thread that calls `run` owns the loop, its tracker and the statistics' counters. It owns a source
    only from its opening (`Opening`) to the pipeline, whose capture thread takes it over. Others may call `stop` alone.
    """

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        estimators: Sequence[Callable[[], PoseEstimator]],
        sinks: Sequence[Sink],
        settings: LoopConfig,
        stats: Stats,
        notifier: Notifier | None = None,
        status: StatusFile | None = None,
    ) -> None:
        """`estimators`: the normal model and the cheaper ones for when it is hot; loaded when they are needed."""
        self._open_source, self._estimators, self._sinks = open_source, estimators, sinks
        self._settings, self._stats = settings, stats
        self._notifier, self._status = notifier or Notifier({}), status or StatusFile("")
        self._loaded: tuple[int, PoseEstimator] | None = None
        self._tracker: Tracker | None = None
        self._smoother = OneEuroSmoother()
        self._adaptation = Adaptation(len(estimators), settings.hot_c, settings.cool_c)
        self._stop = threading.Event()
        self._logged_s = monotonic()
        self._attempt = 0
        self._loss_log = _LossLog()
        self._stuck: list[tuple[threading.Thread, float]] = []
        self.unreadable = 0
        """Images of a folder, or videos, that could not be read to their end; each was logged."""

    def stop(self) -> None:
        """Ends the loop soon; may be called from a signal handler or another thread."""
        self._stop.set()

    def remaining_threads(self) -> list[threading.Thread]:
        """Return threads that are still inside a driver, the network or a sink."""
        self._stuck = [(thread, since_s) for thread, since_s in self._stuck if thread.is_alive()]
        return [thread for thread, _ in self._stuck]

    def run(self, seconds: float | None = None) -> None:
        """Run until the end.

        Raises:
            EdgePoseError: Source or sinks cannot be had at the start, or a camera driver does not return
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
                opened, source = source, None
                end = self._run_source(opened, end_s)
                self.unreadable += opened.unreadable
                if end is _End.LOST:
                    source = self._reopen_source(end_s)
                elif end is _End.MODEL_CHANGED:
                    source = self._open_again(end_s)
        finally:
            self._stats.state = "stopping"
            self._notifier.stopping()
            if source is not None:
                source.close()
            now = monotonic()
            self._stuck += [(sink.thread, now) for sink in stop_all(started, _SINKS_STOP_TIMEOUT_S)]

    def _should_stop(self, end_s: float | None) -> bool:
        late = end_s is not None and monotonic() >= end_s
        return late or self._stop.is_set() or any(sink.finished for sink in self._sinks)

    def _load_estimator(self, end_s: float | None) -> PoseEstimator | None:
        """The model that heat allows; None where the loop shall end before the network is free."""
        model = self._adaptation.model
        while any(thread.name == INFERENCE_THREAD for thread in self.remaining_threads()):
            # The last pipeline's network still runs: it must end before another thread uses or drops it.
            if self._should_stop(end_s):
                return None
            self._stop.wait(_POLL_S)
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None  # the old one goes before the new one comes: a small board has no room for both
            self._loaded = model, self._estimators[model]()
        return self._loaded[1]

    def _run_source(self, source: FrameSource, end_s: float | None) -> _End:
        """Run one opened source with one model; the pipeline closes the source."""
        pipeline: Pipeline | None = None
        try:
            estimator = self._load_estimator(end_s)
            if estimator is None:
                return _End.FINISHED
            self._stats.model = f"{estimator.manifest.network} {estimator.manifest.precision}"
            thinned = RateLimitedSource(
                source, self._settings.every_nth * self._adaptation.every_nth, self._settings.max_fps
            )
            pipeline = Pipeline(thinned, estimator)
        finally:
            if pipeline is None:
                source.close()
        before = self._stats.dropped, self._stats.skipped

        def count() -> None:
            self._stats.dropped, self._stats.skipped = before[0] + pipeline.dropped, before[1] + thinned.skipped

        try:
            with pipeline:
                return self._take_results(pipeline, thinned, estimator.manifest.skeleton_table, end_s, count)
        except InputError as error:
            if source.finite:
                LOG.error("%s", error)
                self.unreadable += 1
                return _End.FINISHED
            self._lose_camera(str(error))
            return _End.LOST
        finally:
            count()
            now = monotonic()
            self._stuck += [(thread, now) for thread in pipeline.remaining_threads]

    def _take_results(
        self,
        pipeline: Pipeline,
        thinned: RateLimitedSource,
        skeleton: Skeleton,
        end_s: float | None,
        count: Callable[[], None],
    ) -> _End:
        model = self._adaptation.model
        first_s, last_s, skipped = 0.0, monotonic(), 0
        while not self._should_stop(end_s):
            try:
                result = pipeline.next_result(_POLL_S)
            except TimeoutError:
                if thinned.skipped != skipped:
                    # Frames come, but none is wanted yet.
                    last_s, skipped = monotonic(), thinned.skipped
                if not thinned.live or monotonic() - last_s <= _STALL_TIMEOUT_S:
                    self._notifier.alive()
                    continue
                raise InputError(f"no frame for {_STALL_TIMEOUT_S:g} s") from None
            if result is None:
                return _End.FINISHED
            last_s = monotonic()
            first_s = first_s or last_s
            if last_s - first_s >= _STEADY_S:
                self._attempt = 0
                self._loss_log.steady()
            result = self._track_and_smooth(result, thinned.time_ns(result.frame) / 1e9, skeleton)
            count()
            self._publish(result, Message(result.frame, result.estimate, skeleton))
            # A file would begin anew with another model.
            if self._adapt(thinned) != model and not thinned.finite:
                return _End.MODEL_CHANGED
        return _End.FINISHED

    def _track_and_smooth(self, result: Result, time_s: float, skeleton: Skeleton) -> Result:
        """Number people and smooth keypoints; people keep their numbers over losses of the camera and model changes."""
        poses = result.estimate.poses
        if self._settings.track:
            if self._tracker is None:
                self._tracker = Tracker(skeleton)
            poses = self._tracker.update(poses, time_s)
        if self._settings.smooth:
            poses = self._smoother.update(poses, time_s)
        return replace(result, estimate=EstimateResult(poses, result.estimate.timings_ms))

    def _publish(self, result: Result, message: Message) -> None:
        first = self._stats.processed == 0
        self._stats.frame(result)
        for sink in self._sinks:
            sink.send(message)
        if self._stats.state != "running":
            self._stats.state, self._stats.problem = "running", ""
        if first:
            self._notifier.ready()
        self._notifier.alive()
        self._status.update(self._stats, now=first)
        if monotonic() - self._logged_s >= _LOG_INTERVAL_S:
            self._logged_s = monotonic()
            snapshot = self._stats.snapshot()
            text = (
                f"{snapshot.fps:.1f} FPS, {snapshot.latency_ms:.0f} ms, {snapshot.people} people, {snapshot.processed} "
                f"frames, {snapshot.dropped} dropped"
                + (f", {snapshot.memory_mb:.0f} MB" if snapshot.memory_mb is not None else "")
                + (f", {snapshot.temperature_c:.0f} C" if snapshot.temperature_c is not None else "")
                + "".join(f", {flag}" for flag in snapshot.flags)
            )
            LOG.info(text)
            self._notifier.status(text)

    def _adapt(self, thinned: RateLimitedSource) -> int:
        """Steps with the heat; gives the model that shall run."""
        if self._adaptation.update(self._stats.health()):
            self._stats.level = self._adaptation.level
            LOG.warning("heat: level %d", self._adaptation.level)
            thinned.every_nth = self._settings.every_nth * self._adaptation.every_nth
        return self._adaptation.model

    def _lose_camera(self, problem: str) -> None:
        self._loss_log.lost(problem)
        self._stats.state, self._stats.problem = "camera lost", problem
        self._stats.camera_losses += 1
        self._status.update(self._stats, now=True)

    def _open(self, end_s: float | None) -> FrameSource | None:
        """Open the source; None where the loop shall end before. Raises InputError where there is none."""
        opening = Opening(self._open_source)
        begun_s = monotonic()
        while not opening.wait(_POLL_S):
            stuck = monotonic() - begun_s > _STUCK_TIMEOUT_S
            if self._should_stop(end_s) or stuck:
                opening.wait(_OPENING_GRACE_S)
                opening.abandon()
                self._stuck.append((opening.thread, begun_s))
                if stuck:
                    raise CameraStuckError(f"the camera could not be opened within {_STUCK_TIMEOUT_S:g} s")
                return None
            self._stay_alive()
        return opening.take()

    def _open_again(self, end_s: float | None) -> FrameSource | None:
        """Open the source after a change of the model, at once; a failure is a loss."""
        try:
            return self._open(end_s)
        except InputError as error:
            self._lose_camera(str(error))
            return self._reopen_source(end_s)

    def _reopen_source(self, end_s: float | None) -> FrameSource | None:
        """Open the source again after a loss, however long that takes; None where the loop shall end.

        Delays grow until the camera has been steady for a while: one that answers and ends at once is not opened in a
        storm.
        """
        while True:
            until_s = monotonic() + _RECONNECT_DELAYS_S[min(self._attempt, len(_RECONNECT_DELAYS_S) - 1)]
            self._attempt += 1
            while (left_s := until_s - monotonic()) > 0:
                if self._should_stop(end_s):
                    return None
                self._stay_alive()
                self._check_stuck()
                self._stop.wait(min(_POLL_S, left_s))
            if self._should_stop(end_s):
                return None
            try:
                return self._open(end_s)
            except InputError as error:
                self._loss_log.lost(str(error))
                self._stats.problem = str(error)

    def _stay_alive(self) -> None:
        """The loop is alive, it is the camera that is not."""
        self._notifier.alive()
        self._status.update(self._stats)

    def _check_stuck(self) -> None:
        """Raise CameraStuckError where a driver does not return: its device cannot be opened again in this process."""
        self.remaining_threads()
        now = monotonic()
        if len(self._stuck) > _MAX_STUCK_THREADS or any(now - since > _STUCK_TIMEOUT_S for _, since in self._stuck):
            raise CameraStuckError("the camera driver does not return; the process must be started again")
