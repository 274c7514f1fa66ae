"""The steady state: frame after frame for some seconds, every stage timed, with an eye on the machine."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import cv2

from ...device.monitor import health
from ...device.monitor.health import Health, ProcessorTime
from ...runtime import PoseEstimator
from ...runtime.errors import InputError
from ...runtime.io.inputs import expand, frames
from ...runtime.model.interpreter import Network
from ...runtime.synthetic import Scene
from ...runtime.types import Frame
from ...runtime.visualize.draw import draw_poses
from .results import Latency, PeoplePoint

WARM_UP = 5
_LEAST = 20
"""Frames, however long they take."""
_SHOWN = 10
"""Of so many frames one is drawn and encoded, outside the latency."""
_LOOK = 1.0
"""Seconds between two looks at the board."""
_QUALITY = 80
_SCENE_FRAMES = 20
_OTHERS = 0.05
"""Share of all cores that others may take before the times are called noisy."""
_DRIFT = 0.05
"""Change of the median latency from the first third of the run to the last."""


@dataclass(frozen=True)
class Run:
    """What was measured; `others`, the share of all cores that other processes took, is among the warnings."""

    frames: int
    fps: float
    latency: Latency
    stages_ms: dict[str, float]
    people: float
    health: tuple[Health, ...]
    overhead: float
    warnings: tuple[str, ...]


class Frames:
    """An endless supply of frames from images, videos or the synthetic scene.

    The scene is painted beforehand: a camera does not paint. Reading a file is the capture of a file.
    """

    def __init__(self, name: str) -> None:
        """Raises InputError where there is nothing to read."""
        inputs = expand(name)
        scenes = [source for source in inputs if source.path is None]
        if scenes:
            self._painted = _painted(scenes[0].people, scenes[0].name)
            self._endless: Iterator[Frame] = itertools.cycle(self._painted)
        else:
            self._endless = (frame for _ in itertools.count() for source in inputs for frame in frames(source))
        self.first = next(self)

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        frame = next(self._endless, None)
        if frame is None:
            raise InputError("the input has no frames")
        return frame


def _painted(people: int, name: str, width: int = 640, height: int = 480) -> list[Frame]:
    scene = Scene(people, width, height)
    return [Frame(scene.frame(index).image, name, index) for index in range(_SCENE_FRAMES)]


def warm(estimator: PoseEstimator, supply: Frames) -> None:
    """The first frames are slower: memory is touched for the first time, clocks rise."""
    for frame in itertools.islice(supply, WARM_UP):
        estimator.estimate(frame.image, frame.channel_order)


def run(estimator: PoseEstimator, supply: Frames, seconds: float, say: Callable[[str], object]) -> Run:
    """Frame by frame, one after the other, for `seconds`."""
    watch = _Watch(seconds, say)
    stages: dict[str, list[float]] = {name: [] for name in ("capture", "preprocess", "inference", "decode")}
    drawn, encoded, people = [], [], 0
    skeleton = estimator.manifest.skeleton_table
    while watch.goes_on:
        start = perf_counter()
        frame = next(supply)
        captured = perf_counter()
        estimate = estimator.estimate(frame.image, frame.channel_order)
        end = perf_counter()
        watch.took(end - start)
        stages["capture"].append((captured - start) * 1e3)
        for name, ms in estimate.timings_ms._asdict().items():
            stages[name].append(ms)
        people += len(estimate)
        if len(watch.latencies) % _SHOWN == 0:
            start = perf_counter()
            image = draw_poses(frame.image, estimate, skeleton)
            middle = perf_counter()
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            end = perf_counter()
            drawn.append((middle - start) * 1e3)
            encoded.append((end - middle) * 1e3)
            watch.aside(end - start)
    return watch.result({**stages, "draw": drawn, "encode": encoded}, people)


def infer(network: Network, seconds: float, say: Callable[[str], object]) -> Run:
    """The network alone, on what its inputs hold."""
    for _ in range(WARM_UP):
        network.invoke()
    watch = _Watch(seconds, say)
    while watch.goes_on:
        start = perf_counter()
        network.invoke()
        watch.took(perf_counter() - start)
    return watch.result({"inference": [s * 1e3 for s in watch.latencies]}, 0)


def point(estimator: PoseEstimator, people: int, count: int) -> PeoplePoint:
    """Median stage times with so many people in an image of 1280x960."""
    supply = _painted(people, "", 1280, 960)[:count]
    estimator.estimate(supply[0].image)
    estimates = [estimator.estimate(frame.image) for frame in supply]
    columns = zip(*(estimate.timings_ms for estimate in estimates), strict=True)
    names = ("preprocess", "inference", "decode")
    found = sum(map(len, estimates)) / len(estimates)
    return PeoplePoint(people, found, dict(zip(names, map(median, columns), strict=True)))


class _Watch:
    """The clock of a run, and what else went on during it."""

    def __init__(self, seconds: float, say: Callable[[str], object]) -> None:
        self.latencies: list[float] = []
        self._say = say
        self._seconds = seconds
        self._aside = 0.0
        self._health: list[Health] = []
        self._processor = ProcessorTime.now()
        self._start = self._looked = perf_counter()

    @property
    def goes_on(self) -> bool:
        now = perf_counter()
        if now - self._looked > _LOOK:
            # Only sysfs: a child process would take time from the network.
            self._health.append(health.read(firmware=False))
            spent = now - self._start
            self._say(f"{len(self.latencies) / (spent - self._aside):.1f} FPS, {spent:.0f} of {self._seconds:.0f} s")
            self._looked = now
        return now - self._start < self._seconds or len(self.latencies) < _LEAST

    def took(self, latency: float) -> None:
        self.latencies.append(latency)

    def aside(self, seconds: float) -> None:
        """Time that was not part of the run."""
        self._aside += seconds

    def result(self, stages: dict[str, list[float]], people: int) -> Run:
        elapsed = perf_counter() - self._start
        own = elapsed - self._aside
        count, ordered = len(self.latencies), sorted(self.latencies)
        latency = Latency(*(round(ordered[int(q * (count - 1))] * 1e3, 4) for q in (0.5, 0.95, 1.0)))
        return Run(
            frames=count,
            fps=count / own,
            latency=latency,
            stages_ms={name: median(times) for name, times in stages.items() if times},
            people=people / count,
            health=tuple(self._health),
            overhead=max(0.0, 1 - sum(self.latencies) / own),
            warnings=tuple(self._warnings(elapsed)),
        )

    def _warnings(self, elapsed: float) -> Iterator[str]:
        cores = len(os.sched_getaffinity(0))
        others = ProcessorTime.now().others_since(self._processor) / (elapsed * (os.cpu_count() or cores))
        if others > _OTHERS:
            yield f"noisy: other processes took {others:.0%} of the processor"
        third = max(1, len(self.latencies) // 3)
        first, last = median(self.latencies[:third]), median(self.latencies[-third:])
        if abs(last / first - 1) > _DRIFT:
            yield f"unsteady: the last third of the frames took {last / first - 1:+.0%} against the first"
        if any(moment.throttled for moment in self._health):
            yield "throttled while it was measured"
