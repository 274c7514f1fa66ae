"""Capture, inference and decoding at the same time: while the network sees one frame, the next is made ready.

Three threads: one takes frames from the source and prepares them, one runs the network, the caller decodes. Between
them lies room for one frame, and the latest wins: latency cannot grow. A source that is not live, such as a file, waits
instead. Buffers are made once and handed round.

Who owns what:
- The capture thread owns the source from `__enter__` on. It alone reads from it and closes it; everybody else only asks
  it to stop.
- The inference thread alone runs the interpreter. The capture thread uses the estimator's preprocessor, the caller its
  decoder; these share nothing that changes.
- A buffer belongs to whoever took it out of a queue or mailbox last.
- A thread that does not end in time is left alone (`remaining_threads`): it cleans up after itself when its driver
  returns, and no other thread touches what it owns meanwhile.
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
from ...runtime.estimator import Buffer
from ...runtime.types import EstimateResult, Frame, PoseFields, Timings
from ..sources.base import FrameSource
from .latest_slot import Closed, Mailbox

_BUFFERS = 3
"""One is being filled, one waits, one is being read."""
INFERENCE_THREAD = "edgepose-inference"
"""Name of the thread that runs the network."""
_JOIN_TIMEOUT_S = 0.5
"""How long leaving the pipeline waits for its threads."""


@dataclass(frozen=True)
class Result:
    """A frame with its people.

    `latency_ms`: from exposure to poses.
    """

    frame: Frame
    estimate: EstimateResult
    latency_ms: float


@dataclass
class _Prepared:
    frame: Frame
    buffer: Buffer
    preprocess_ms: float


@dataclass
class _Inferred:
    prepared: _Prepared
    fields: PoseFields
    inference_ms: float


class Pipeline:
    """Iterates over results; a context manager, whose end stops all threads.

    >>> with Pipeline(source, estimator) as results:
    ...     for result in results:
    ...         print(len(result.estimate), result.latency_ms)

    A fault of source or network is raised where the results are read.
    """

    def __init__(self, source: FrameSource, estimator: PoseEstimator) -> None:
        """The pipeline owns `source` once it was entered."""
        self._source, self._estimator = source, estimator
        self._stopping = threading.Event()
        self._ready: Mailbox[_Prepared] = Mailbox()
        self._done: Mailbox[_Inferred] = Mailbox()
        self._inputs: SimpleQueue[Buffer | None] = SimpleQueue()
        self._outputs: SimpleQueue[PoseFields | None] = SimpleQueue()
        self._fault: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(work, box), name=name, daemon=True)
            for name, work, box in (
                ("edgepose-capture", self._capture, self._ready),
                (INFERENCE_THREAD, self._infer, self._done),
            )
        ]
        self.remaining_threads: list[threading.Thread] = []
        """Threads that did not end in time when the pipeline was left: in a driver, or in the network."""

    @property
    def dropped(self) -> int:
        """Frames that came from the source and were never decoded because newer ones had come."""
        return self._ready.replaced + self._done.replaced

    def __enter__(self) -> Pipeline:
        for _ in range(_BUFFERS):
            self._inputs.put(self._estimator.input_buffer())
            fields = self._estimator.fields()
            # Not filled from the interpreter's memory: only of the same shape.
            self._outputs.put(fields._replace(heatmaps=np.empty_like(fields.heatmaps), pafs=np.empty_like(fields.pafs)))
            del fields
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._source.stop()
        self._ready.discard()
        self._done.discard()
        self._inputs.put(None)
        self._outputs.put(None)
        end = monotonic() + _JOIN_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, end - monotonic()))
        self.remaining_threads = [thread for thread in self._threads if thread.is_alive()]
        # Threads and fault point back to this object: let go, buffers are freed now and not at some collection.
        self._threads, self._fault = [], None
        if not self.remaining_threads:
            self._inputs, self._outputs = SimpleQueue(), SimpleQueue()

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        if (result := self.next_result()) is None:
            raise StopIteration
        return result

    def next_result(self, timeout_s: float | None = None) -> Result | None:
        """The next frame with its people, None after the last.

        Raises TimeoutError where there is none in time, and whatever went wrong in source or network.
        """
        try:
            item = self._done.take(timeout_s)
        except Closed:
            if self._fault is not None:
                raise self._fault from None
            return None
        prepared, start = item.prepared, perf_counter()
        poses = self._estimator.decode(item.fields, prepared.frame.image)
        decode_ms = (perf_counter() - start) * 1e3
        self._outputs.put(item.fields)
        timings = Timings(prepared.preprocess_ms, item.inference_ms, decode_ms)
        latency_ms = (monotonic_ns() - prepared.frame.captured_ns) / 1e6
        return Result(prepared.frame, EstimateResult(poses, timings), latency_ms)

    def _capture(self) -> None:
        frames = self._source.frames()
        try:
            for frame in frames:
                # A driver may have taken its time: the pipeline has ended, and another one may use the estimator.
                if self._stopping.is_set() or (buffer := self._inputs.get()) is None:
                    return
                # Only now: waiting for a buffer is not preparing.
                start = perf_counter()
                self._estimator.prepare(frame.image, frame.channel_order, buffer)
                prepared = _Prepared(frame, buffer, (perf_counter() - start) * 1e3)
                if self._source.live:
                    if (older := self._ready.put(prepared)) is not None:
                        self._inputs.put(older.buffer)
                else:
                    self._ready.put_when_empty(prepared)
        finally:
            try:
                if isinstance(frames, Generator):
                    frames.close()  # what it has opened is closed by this thread, too
            finally:
                self._source.close()

    def _infer(self) -> None:
        while True:
            prepared = self._ready.take()
            if self._stopping.is_set():
                return
            start = perf_counter()
            fields = self._estimator.infer_prepared(prepared.buffer)
            inference_ms = (perf_counter() - start) * 1e3
            self._inputs.put(prepared.buffer)
            if (copy := self._outputs.get()) is None:
                return
            np.copyto(copy.heatmaps, fields.heatmaps)
            np.copyto(copy.pafs, fields.pafs)
            # The interpreter does not run while its memory is held.
            del fields
            item = _Inferred(prepared, copy, inference_ms)
            if self._source.live:
                if (older := self._done.put(item)) is not None:
                    self._outputs.put(older.fields)
            else:
                self._done.put_when_empty(item)

    def _run(self, work: Callable[[], None], box: Mailbox[Any]) -> None:
        try:
            work()
        except Closed:
            pass
        except BaseException as fault:
            self._fault = fault
        finally:
            # Whoever waits for this thread must not wait for ever.
            box.close()
