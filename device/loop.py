"""The camera loop: frames in, poses out, for months: through lost cameras, heat and dead sinks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic

from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import InputError
from edgepose.runtime.skeleton import Skeleton
from edgepose.runtime.types import Estimate

from .adapt import Adaptation
from .config import LoopConfig
from .notify import Notifier
from .pipeline import Pipeline, Result
from .sinks.base import LOG, Message, Sink
from .smoothing import Smoother
from .source import FrameSource
from .stats import Stats
from .status_file import StatusFile
from .thinning import Thinned
from .tracker import Tracker

_LOOK_S = 0.25
"""How long the loop waits for a frame before it looks whether it shall stop."""
_STALL_S = 10.0
"""A camera that gives nothing for so long is lost."""
_LOG_S = 60.0
_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Between attempts to open a camera that was lost."""


class Loop:
    """Runs until `stop` is called, the source ends, `seconds` are over, or nobody reads stdout any more."""

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
        self._smoother = Smoother()
        self._adaptation = Adaptation(len(estimators), settings.hot_c, settings.cool_c)
        self._stop = threading.Event()
        self._logged_s = monotonic()

    def stop(self) -> None:
        """Ends the loop soon; may be called from a signal handler or another thread."""
        self._stop.set()

    def run(self, seconds: float | None = None) -> None:
        """Until the end. Raises EdgePoseError where source or sinks cannot be had at the start."""
        end_s = None if seconds is None else monotonic() + seconds
        source: FrameSource | None = self._open_source()
        started: list[Sink] = []
        try:
            for sink in self._sinks:
                sink.start()
                started.append(sink)
            while source is not None and not self._over(end_s):
                again = self._through(source, end_s)
                source = self._reopened(end_s) if again else None
        finally:
            self._stats.state = "stopping"
            self._notifier.stopping()
            if source is not None:
                source.close()
            for sink in started:
                sink.stop()

    def _over(self, end_s: float | None) -> bool:
        late = end_s is not None and monotonic() >= end_s
        return late or self._stop.is_set() or any(sink.finished for sink in self._sinks)

    def _through(self, source: FrameSource, end_s: float | None) -> bool:
        """One opened source with one model; says whether to open it again."""
        model = self._adaptation.model
        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None  # the old one goes before the new one comes: a small board has no room for both
            self._loaded = model, self._estimators[model]()
        estimator = self._loaded[1]
        self._stats.model = f"{estimator.manifest.network} {estimator.manifest.precision}"
        thinned = Thinned(source, self._settings.every_nth * self._adaptation.every_nth, self._settings.max_fps)
        skeleton = estimator.manifest.skeleton_table
        pipeline, before = Pipeline(thinned, estimator), (self._stats.dropped, self._stats.skipped)
        last_s, skipped = monotonic(), 0
        try:
            with pipeline:
                while not self._over(end_s):
                    try:
                        result = pipeline.next_result(_LOOK_S)
                    except TimeoutError:
                        if thinned.skipped != skipped:
                            # Frames come, but none is wanted yet.
                            last_s, skipped = monotonic(), thinned.skipped
                            self._notifier.alive()
                        if source.live and monotonic() - last_s > _STALL_S:
                            raise InputError(f"no frame for {_STALL_S:.0f} s") from None
                        continue
                    if result is None:
                        return False
                    last_s = monotonic()
                    result = self._followed(result, skeleton)
                    self._stats.dropped, self._stats.skipped = before[0] + pipeline.dropped, before[1] + thinned.skipped
                    self._processed(result, Message(result.frame, result.estimate, skeleton))
                    if self._adapted(thinned) != model:
                        return True
        except InputError as error:
            self._lost(str(error))
            return True
        return False

    def _followed(self, result: Result, skeleton: Skeleton) -> Result:
        """With numbered and steadied people; they keep their numbers over losses of the camera and changes of model."""
        poses, time_s = result.estimate.poses, result.frame.timestamp_ns / 1e9
        if self._settings.track:
            if self._tracker is None:
                self._tracker = Tracker(skeleton)
            poses = self._tracker.update(poses, time_s)
        if self._settings.smooth:
            poses = self._smoother.update(poses, time_s)
        return replace(result, estimate=Estimate(poses, result.estimate.timings_ms))

    def _processed(self, result: Result, message: Message) -> None:
        first = self._stats.processed == 0
        self._stats.frame(result)
        for sink in self._sinks:
            sink.send(message)
        if self._stats.state != "running":
            if self._stats.state == "camera lost":
                LOG.warning("camera: back again")
            self._stats.state, self._stats.problem = "running", ""
        if first:
            self._notifier.ready()
        self._notifier.alive()
        self._status.update(self._stats, now=first)
        if monotonic() - self._logged_s >= _LOG_S:
            self._logged_s = monotonic()
            snapshot = self._stats.snapshot()
            text = (
                f"{snapshot.fps:.1f} FPS, {snapshot.latency_ms:.0f} ms, {snapshot.people} people, {snapshot.processed} "
                f"frames, {snapshot.dropped} dropped, {snapshot.memory_mb:.0f} MB"
                + (f", {snapshot.temperature_c:.0f} C" if snapshot.temperature_c is not None else "")
                + "".join(f", {flag}" for flag in snapshot.flags)
            )
            LOG.info(text)
            self._notifier.status(text)

    def _adapted(self, thinned: Thinned) -> int:
        """Steps with the heat; gives the model that shall run."""
        if self._adaptation.update(self._stats.health()):
            self._stats.level = self._adaptation.level
            LOG.warning("heat: level %d", self._adaptation.level)
            thinned.every_nth = self._settings.every_nth * self._adaptation.every_nth
        return self._adaptation.model

    def _lost(self, problem: str) -> None:
        if self._stats.state != "camera lost":
            LOG.warning("camera lost: %s", problem)
        self._stats.state, self._stats.problem = "camera lost", problem
        self._stats.camera_losses += 1
        self._status.update(self._stats, now=True)

    def _reopened(self, end_s: float | None) -> FrameSource | None:
        """The source once more, however long that takes; None where the loop shall end."""
        attempt = 0
        while not self._over(end_s):
            try:
                return self._open_source()
            except InputError as error:
                if self._stats.state != "camera lost":
                    self._lost(str(error))
                self._stats.problem = str(error)
            until_s = monotonic() + _PAUSES_S[min(attempt, len(_PAUSES_S) - 1)]
            attempt += 1
            while not self._over(end_s) and monotonic() < until_s:
                # The loop is alive, it is the camera that is not.
                self._notifier.alive()
                self._status.update(self._stats)
                self._stop.wait(_LOOK_S)
        return None
