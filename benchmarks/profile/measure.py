"""Measurement of the steady state: process frames for some seconds, time every stage, and observe the machine."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import cv2

from ...device.monitor import health
from ...device.monitor.health import Health, ProcessorTime
from ...runtime import PoseEstimator
from ...runtime.errors import InputError
from ...runtime.io.inputs import Input, find_inputs, read_input
from ...runtime.model.interpreter import Network
from ...runtime.synthetic import Scene
from ...runtime.types import Frame
from ...runtime.visualize.draw import draw_poses
from .results import Latency, PeoplePoint

WARM_UP = 5
_MIN_FRAMES = 20
"""Minimum number of frames, even if they take longer than the requested seconds."""
_DRAW_INTERVAL = 10
"""Every n-th frame is drawn and encoded. This is not part of the latency."""
_HEALTH_INTERVAL_S = 1.0
_JPEG_QUALITY = 80
_SCENE_FRAMES = 20
_MAX_OTHER_LOAD = 0.05
"""Fraction of all cores that other processes may use without a warning."""
_MAX_DRIFT = 0.05
"""Relative change of the median latency, from the first third of the run to the last, without a warning."""


@dataclass(frozen=True)
class Run:
    """Results of one run.

    Attributes:
        frames: Number of frames.
        fps: Frames per second, without the time for drawing and encoding.
        latency: From the request of a frame to its poses.
        stages_ms: Median time of each stage.
        people: People found per frame, on average.
        health: Health of the board, once a second.
        overhead: Fraction of the time that the measuring itself took.
        warnings: Reasons why the times may be wrong: load of other processes, drift, throttling.
    """

    frames: int
    fps: float
    latency: Latency
    stages_ms: dict[str, float]
    people: float
    health: tuple[Health, ...]
    overhead: float
    warnings: tuple[str, ...]


class Frames:
    """Endless iterator over the frames of images, videos or the synthetic scene.

    Frames of the scene are rendered in advance, because rendering is not part of what a camera does. For files, the
    capture time is the time to read and decode them.

    Args:
        name: Image, folder, video or `synthetic[:N]`.

    Raises:
        InputError: There is nothing to read, or the input has no frames.
    """

    def __init__(self, name: str) -> None:
        inputs = find_inputs(name)
        scenes = [source for source in inputs if source.path is None]
        if scenes:
            self._scene_frames = _render_scene(scenes[0].people, scenes[0].name)
            self._frames: Iterator[Frame] = itertools.cycle(self._scene_frames)
        else:
            self._frames = _repeat_frames(inputs)
        self.first = next(self)

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        frame = next(self._frames, None)
        if frame is None:
            raise InputError("the input contains no frames")
        return frame


def _repeat_frames(inputs: Sequence[Input]) -> Iterator[Frame]:
    """Read all inputs again and again; end if they have no frames."""
    while True:
        has_frames = False
        for source in inputs:
            for frame in read_input(source):
                has_frames = True
                yield frame
        if not has_frames:
            return


def _render_scene(people: int, name: str, width: int = 640, height: int = 480) -> list[Frame]:
    scene = Scene(people, width, height)
    return [Frame(scene.render_frame(index).image, name, index) for index in range(_SCENE_FRAMES)]


def warm_up(estimator: PoseEstimator, supply: Frames) -> None:
    """Process some frames without measuring. The first ones are slower: first memory accesses, low clock rate."""
    for frame in itertools.islice(supply, WARM_UP):
        estimator.estimate(frame.image, frame.channel_order)


def run(estimator: PoseEstimator, supply: Frames, seconds: float, report_progress: Callable[[str], object]) -> Run:
    """Process one frame after the other and measure every stage.

    Args:
        estimator: The estimator.
        supply: Frames to process.
        seconds: Duration in seconds; at least 20 frames are processed.
        report_progress: Called about once a second with a line of progress.
    """
    recorder = _Recorder(seconds, report_progress)
    stages: dict[str, list[float]] = {name: [] for name in ("capture", "preprocess", "inference", "decode")}
    drawn, encoded, people = [], [], 0
    skeleton = estimator.manifest.skeleton_table
    while recorder.is_running:
        start = perf_counter()
        frame = next(supply)
        captured = perf_counter()
        estimate = estimator.estimate(frame.image, frame.channel_order)
        end = perf_counter()
        recorder.add_frame(end - start)
        stages["capture"].append((captured - start) * 1e3)
        for name, ms in estimate.timings_ms._asdict().items():
            stages[name].append(ms)
        people += len(estimate)
        if len(recorder.latencies_s) % _DRAW_INTERVAL == 0:
            start = perf_counter()
            image = draw_poses(frame.image, estimate, skeleton)
            middle = perf_counter()
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            end = perf_counter()
            drawn.append((middle - start) * 1e3)
            encoded.append((end - middle) * 1e3)
            recorder.exclude(end - start)
    return recorder.build_result({**stages, "draw": drawn, "encode": encoded}, people)


def infer(network: Network, seconds: float, report_progress: Callable[[str], object]) -> Run:
    """Measure the network alone, on the current content of its inputs. Arguments as for `run`."""
    for _ in range(WARM_UP):
        network.invoke()
    recorder = _Recorder(seconds, report_progress)
    while recorder.is_running:
        start = perf_counter()
        network.invoke()
        recorder.add_frame(perf_counter() - start)
    return recorder.build_result({"inference": [s * 1e3 for s in recorder.latencies_s]}, 0)


def measure_people_point(estimator: PoseEstimator, people: int, count: int) -> PeoplePoint:
    """Measure the median stage times with a number of people in a 1280x960 image.

    Args:
        estimator: The estimator.
        people: Number of people in the synthetic scene.
        count: Number of frames, at most 20.
    """
    supply = _render_scene(people, "", 1280, 960)[:count]
    estimator.estimate(supply[0].image)
    estimates = [estimator.estimate(frame.image) for frame in supply]
    stage_times = zip(*(estimate.timings_ms for estimate in estimates), strict=True)
    names = ("preprocess", "inference", "decode")
    found = sum(map(len, estimates)) / len(estimates)
    return PeoplePoint(people, found, dict(zip(names, map(median, stage_times), strict=True)))


class _Recorder:
    """Recorder of one run: latencies, and the state of the machine meanwhile."""

    def __init__(self, seconds: float, report_progress: Callable[[str], object]) -> None:
        self.latencies_s: list[float] = []
        self._report_progress = report_progress
        self._seconds = seconds
        self._excluded_s = 0.0
        self._health: list[Health] = []
        self._processor_start = ProcessorTime.read()
        self._start = self._last_health = perf_counter()

    @property
    def is_running(self) -> bool:
        now = perf_counter()
        if now - self._last_health > _HEALTH_INTERVAL_S:
            # Read sysfs only: vcgencmd is a child process and would slow down the network.
            self._health.append(health.read(firmware=False))
            elapsed = now - self._start
            fps = len(self.latencies_s) / (elapsed - self._excluded_s)
            self._report_progress(f"{fps:.1f} FPS, {elapsed:.0f} of {self._seconds:.0f} s")
            self._last_health = now
        return now - self._start < self._seconds or len(self.latencies_s) < _MIN_FRAMES

    def add_frame(self, latency_s: float) -> None:
        self.latencies_s.append(latency_s)

    def exclude(self, seconds: float) -> None:
        """Exclude time that is not part of the run."""
        self._excluded_s += seconds

    def build_result(self, stages: dict[str, list[float]], people: int) -> Run:
        elapsed = perf_counter() - self._start
        run_s = elapsed - self._excluded_s
        count, ordered = len(self.latencies_s), sorted(self.latencies_s)
        latency = Latency(*(round(ordered[int(q * (count - 1))] * 1e3, 4) for q in (0.5, 0.95, 1.0)))
        return Run(
            frames=count,
            fps=count / run_s,
            latency=latency,
            stages_ms={name: median(times) for name, times in stages.items() if times},
            people=people / count,
            health=tuple(self._health),
            overhead=max(0.0, 1 - sum(self.latencies_s) / run_s),
            warnings=tuple(self._find_warnings(elapsed)),
        )

    def _find_warnings(self, elapsed: float) -> Iterator[str]:
        cores = len(os.sched_getaffinity(0))
        other_load = ProcessorTime.read().compute_others_s(self._processor_start) / (
            elapsed * (os.cpu_count() or cores)
        )
        if other_load > _MAX_OTHER_LOAD:
            yield f"other processes used {other_load:.0%} of the processor; the times may be too long"
        third = max(1, len(self.latencies_s) // 3)
        first, last = median(self.latencies_s[:third]), median(self.latencies_s[-third:])
        if abs(last / first - 1) > _MAX_DRIFT:
            yield f"speed changed: {last / first - 1:+.0%} latency from the first to the last third of the frames"
        if any(moment.throttled for moment in self._health):
            yield "the board was throttled during the measurement"
