"""Parallel capture, inference and decoding: no lost frames, no growing queue, all threads end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edgepose.device.camera.latest_slot import LatestSlot, SlotClosed
from edgepose.device.camera.pipeline import Pipeline
from edgepose.device.sources.base import FrameSource, SyntheticCamera
from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import InputError, ModelError
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import Frame


class ShortSource(FrameSource):
    """Source with `count` frames of the scene, not live by default. Then it ends or raises `fault`."""

    def __init__(self, count: int, fault: Exception | None = None, live: bool = False) -> None:
        super().__init__()
        self._images = [Scene(2, 320, 240).render_frame(i).image for i in range(count)]
        self._fault = fault
        self.live = live
        self.closed = False

    def frames(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            yield Frame(image, "few", index, captured_ns=time.monotonic_ns())
        if self._fault is not None:
            raise self._fault

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(threads=1)


def test_a_file_loses_no_frame_and_gives_the_same_poses(estimator: PoseEstimator) -> None:
    source = ShortSource(6)
    with Pipeline(source, estimator) as results:
        found = list(results)
    assert [result.frame.index for result in found] == list(range(6))
    for result in found:
        alone = estimator.estimate(result.frame.image)
        assert len(alone) == len(result.estimate)
        for a, b in zip(alone, result.estimate, strict=True):
            np.testing.assert_array_equal(a.keypoints, b.keypoints)
        assert result.latency_ms >= result.estimate.timings_ms.inference
    assert source.closed


def test_the_latest_frame_wins_when_the_reader_is_slow(estimator: PoseEstimator) -> None:
    """With a live source, after a pause only the frames in the pipeline are read, then the newest."""
    pipeline = Pipeline(SyntheticCamera(fps=200, distinct_frames=2), estimator)
    with pipeline as results:
        next(results)
        time.sleep(0.5)
        later = [next(results).frame.index for _ in range(4)]
    assert pipeline.dropped > 20
    assert later == sorted(later)
    assert later[0] > 50, "the frame in the box was not replaced while nobody read"


def test_latency_does_not_grow(estimator: PoseEstimator) -> None:
    """The camera is four times as fast as the network. An unlimited queue would hold half a minute of frames."""
    with Pipeline(SyntheticCamera(fps=400, distinct_frames=2), estimator) as results:
        latencies = [next(results).latency_ms for _ in range(60)]
    whole = np.median([sum(estimator.estimate(Scene(2, 320, 240).render_frame(0).image).timings_ms) for _ in range(5)])
    assert np.median(latencies[-20:]) < np.median(latencies[:20]) + 3 * whole


@pytest.mark.parametrize("live", [False, True])
def test_an_error_of_the_source_is_raised_in_the_reading_thread(estimator: PoseEstimator, live: bool) -> None:
    source = ShortSource(2, InputError("the camera is gone"), live=live)
    with pytest.raises(InputError, match="the camera is gone"), Pipeline(source, estimator) as results:
        for _ in results:
            pass
    assert source.closed


def test_an_error_of_the_network_is_raised_in_the_reading_thread(
    estimator: PoseEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(buffer: object) -> None:
        raise ModelError("inference failed")

    monkeypatch.setattr(estimator, "infer_prepared", fail)
    with pytest.raises(ModelError, match="inference failed"), Pipeline(ShortSource(5), estimator) as results:
        next(results)


@pytest.mark.parametrize("read", [0, 1, 3])
def test_all_threads_end_if_reading_stops_anywhere(estimator: PoseEstimator, read: int) -> None:
    before = threading.active_count()
    with Pipeline(SyntheticCamera(fps=None, distinct_frames=2), estimator) as results:
        for _ in range(read):
            next(results)
    assert threading.active_count() == before


def test_a_mailbox_holds_the_latest() -> None:
    box: LatestSlot[int] = LatestSlot()
    assert box.put(1) is None
    assert box.put(2) == 1
    assert box.replaced_count == 1
    assert box.take() == 2
    box.put(3)
    box.close()
    assert box.take() == 3, "what is inside a closed box can still be taken"
    with pytest.raises(SlotClosed):
        box.take()
    with pytest.raises(SlotClosed):
        box.put(4)


def test_discarding_a_mailbox_wakes_its_waiting_writer() -> None:
    box: LatestSlot[int] = LatestSlot()
    box.put(1)
    ended: list[str] = []

    def work() -> None:
        try:
            box.put_when_empty(2)
        except SlotClosed:
            ended.append("closed")

    thread = threading.Thread(target=work)
    thread.start()
    box.discard()
    thread.join(timeout=5)
    assert ended == ["closed"]


def test_a_simulated_camera_keeps_its_frame_rate() -> None:
    camera = SyntheticCamera(fps=100, distinct_frames=1)
    frames = camera.frames()
    stamps = [next(frames).timestamp_ns for _ in range(20)]
    assert 8e6 < np.median(np.diff(stamps)) < 12e6
    camera.stop()
    assert list(frames) == []
    with pytest.raises(ValueError, match="frames per second"):
        SyntheticCamera(fps=0)
