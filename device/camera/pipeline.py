"""Pipeline that runs capture, inference and decoding at the same time.

There are three threads: the capture thread reads frames and preprocesses them, the inference thread runs the network,
the caller decodes. Each hand-over holds one frame, and a newer frame replaces an older one, so that latency cannot
grow. A source that is not live, such as a file, waits instead. Buffers are allocated once and reused.

Ownership:
- The capture thread owns the source from `__enter__` on. Only this thread reads from the source and closes it; other
  threads may only ask the source to stop.
- Only the inference thread runs the interpreter. The capture thread uses the preprocessor of the estimator, the caller
  its decoder; they share no state that changes.
- A buffer belongs to the thread that took it out of a queue or `LatestSlot` last.
- A thread that does not end in time is left alone (`remaining_threads`): it cleans up when its driver returns, and
  until then no other thread uses its objects.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic, monotonic_ns, perf_counter
from typing import Any

import numpy as np

from ...runtime import PoseEstimator
from ...runtime.map_inference import Buffer
from ...runtime.types import EstimateResult, Frame, PoseFields, Timings
from ..sources.base import FrameSource
from .latest_slot import LatestSlot, SlotClosed

_BUFFER_COUNT = 3
"""One is being filled, one waits, one is being read."""
INFERENCE_THREAD_NAME = "edgepose-inference"
"""Name of the thread that runs the network."""
_JOIN_TIMEOUT_S = 0.5
"""Maximum time that `Pipeline.__exit__` waits for the threads."""


@dataclass(frozen=True)
class PipelineResult:
    """A frame with its poses."""

    frame: Frame
    estimate: EstimateResult
    latency_ms: float
    """Time from the capture of the frame to its poses."""


@dataclass
class _PreparedFrame:
    frame: Frame
    buffer: Buffer
    preprocess_ms: float


@dataclass
class _InferredFrame:
    prepared: _PreparedFrame
    fields: PoseFields
    inference_ms: float


class Pipeline:
    """Iterator over the results of a source, and a context manager whose exit stops all threads.

    >>> with Pipeline(source, estimator) as results:
    ...     for result in results:
    ...         print(len(result.estimate), result.latency_ms)

    An error in the source or the network is raised in the thread that reads the results.
    """

    def __init__(self, source: FrameSource, estimator: PoseEstimator) -> None:
        """Create the pipeline without starting it.

        Args:
            source: An opened source. The pipeline owns it from `__enter__` on.
            estimator: A model that nothing else uses at the same time.
        """
        if not callable(getattr(source, "frames", None)):
            raise TypeError(f"Pipeline: expected a source from open_source, got {type(source).__name__}")
        if not isinstance(estimator, PoseEstimator):
            raise TypeError(f"Pipeline: expected a PoseEstimator, got {type(estimator).__name__}")
        if estimator.passes != 1:
            raise ValueError("Pipeline: expected an estimator without augment and scales, which are for images")
        self._source, self._estimator = source, estimator
        self._is_started = False
        self._stopping = threading.Event()
        self._prepared: LatestSlot[_PreparedFrame] = LatestSlot()
        self._inferred: LatestSlot[_InferredFrame] = LatestSlot()
        self._free_inputs: SimpleQueue[Buffer | None] = SimpleQueue()
        self._free_outputs: SimpleQueue[PoseFields | None] = SimpleQueue()
        self._error: BaseException | None = None
        self._estimator_users = 0
        """The reader of the results and the inference thread, until each is done with the estimator."""
        self._users_lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run_thread, args=(work, slot), name=name, daemon=True)
            for name, work, slot in (
                ("edgepose-capture", self._capture, self._prepared),
                (INFERENCE_THREAD_NAME, self._infer, self._inferred),
            )
        ]
        self.remaining_threads: list[threading.Thread] = []
        """Threads that did not end in time on exit, because they are inside a driver or the network."""

    @property
    def dropped(self) -> int:
        """Number of frames that were replaced by newer ones before they were decoded."""
        return self._prepared.replaced_count + self._inferred.replaced_count

    def __enter__(self) -> Pipeline:
        capture, inference = self._threads
        try:
            self._estimator.acquire()
        except BaseException:
            self._source.close()
            raise
        self._estimator_users = 2
        try:
            self._allocate_buffers()
            inference.start()
        except BaseException:
            self._estimator.release()
            self._source.close()
            raise
        try:
            capture.start()
        except BaseException:
            self._threads = [inference]
            self.__exit__()
            # The capture thread, which would close the source, does not run.
            self._source.close()
            raise
        self._is_started = True
        return self

    def _allocate_buffers(self) -> None:
        for _ in range(_BUFFER_COUNT):
            self._free_inputs.put(self._estimator.create_input_buffer())
            fields = self._estimator.get_fields()
            # Buffers of the same shape, not the memory of the interpreter.
            copy = fields._replace(heatmaps=np.empty_like(fields.heatmaps), pafs=np.empty_like(fields.pafs))
            self._free_outputs.put(copy)
            del fields

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._source.stop()
        self._prepared.discard()
        self._inferred.discard()
        self._free_inputs.put(None)
        self._free_outputs.put(None)
        end = monotonic() + _JOIN_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, end - monotonic()))
        self._release_estimator()
        self.remaining_threads = [thread for thread in self._threads if thread.is_alive()]
        # Threads and error refer to this object. Without these references, buffers are freed now and not by the
        # garbage collector.
        self._threads, self._error = [], None
        if not self.remaining_threads:
            self._free_inputs, self._free_outputs = SimpleQueue(), SimpleQueue()

    def __iter__(self) -> Iterator[PipelineResult]:
        return self

    def __next__(self) -> PipelineResult:
        if (result := self.wait_for_result()) is None:
            raise StopIteration
        return result

    def wait_for_result(self, timeout_s: float | None = None) -> PipelineResult | None:
        """Wait for the next frame and decode its poses.

        Args:
            timeout_s: Maximum time to wait in seconds; default: no limit.

        Returns:
            The frame with its poses; None after the last frame.

        Raises:
            TimeoutError: There is no frame in time.
            Exception: Any error that was raised by the source or the network.
        """
        if not self._is_started:
            raise RuntimeError("the pipeline is not started; use `with Pipeline(source, estimator) as results:`")
        try:
            item = self._inferred.take(timeout_s)
        except SlotClosed:
            if self._error is not None:
                raise self._error from None
            return None
        prepared, start = item.prepared, perf_counter()
        poses = self._estimator.decode(item.fields, prepared.frame.image)
        decode_ms = (perf_counter() - start) * 1e3
        self._free_outputs.put(item.fields)
        timings = Timings(prepared.preprocess_ms, item.inference_ms, decode_ms)
        latency_ms = (monotonic_ns() - prepared.frame.captured_ns) / 1e6
        estimate = EstimateResult(poses, timings, skeleton=self._estimator.manifest.skeleton_table)
        return PipelineResult(prepared.frame, estimate, latency_ms)

    def _capture(self) -> None:
        frames = self._source.frames()
        try:
            for frame in frames:
                # If the driver was slow, the pipeline may have ended, and another one may use the estimator.
                if self._stopping.is_set() or (buffer := self._free_inputs.get()) is None:
                    return
                # The time to wait for a buffer is not preprocessing time.
                start = perf_counter()
                self._estimator.prepare(frame.image, frame.channel_order, buffer)
                prepared = _PreparedFrame(frame, buffer, (perf_counter() - start) * 1e3)
                if self._source.live:
                    if (older := self._prepared.put(prepared)) is not None:
                        self._free_inputs.put(older.buffer)
                else:
                    self._prepared.put_when_empty(prepared)
        finally:
            try:
                if isinstance(frames, Generator):
                    frames.close()  # the generator closes in this thread what it opened
            finally:
                self._source.close()

    def _release_estimator(self) -> None:
        """Release the estimator if the other user is done with it, too."""
        with self._users_lock:
            self._estimator_users -= 1
            if self._estimator_users == 0:
                self._estimator.release()

    def _infer(self) -> None:
        try:
            self._infer_frames()
        finally:
            self._release_estimator()

    def _infer_frames(self) -> None:
        while True:
            prepared = self._prepared.take()
            if self._stopping.is_set():
                return
            start = perf_counter()
            fields = self._estimator.infer_prepared(prepared.buffer)
            inference_ms = (perf_counter() - start) * 1e3
            self._free_inputs.put(prepared.buffer)
            if (copy := self._free_outputs.get()) is None:
                return
            np.copyto(copy.heatmaps, fields.heatmaps)
            np.copyto(copy.pafs, fields.pafs)
            # The interpreter refuses to run while there are references to its memory.
            del fields
            item = _InferredFrame(prepared, copy, inference_ms)
            if self._source.live:
                if (older := self._inferred.put(item)) is not None:
                    self._free_outputs.put(older.fields)
            else:
                self._inferred.put_when_empty(item)

    def _run_thread(self, work: Callable[[], None], slot: LatestSlot[Any]) -> None:
        try:
            work()
        except SlotClosed:
            pass
        except BaseException as error:
            self._error = error
        finally:
            # The thread that waits for items must not wait forever.
            slot.close()
