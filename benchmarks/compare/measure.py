"""Times of several models in one run, in turns, so that all of them see the same state of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

from ...runtime.types import Image
from .networks import Estimator
from .results import Time

_WARM_UP = 2
"""Frames before each block that are not measured: the caches contain the data of another network."""
_PAUSE_S = 0.02
"""Pause between blocks. With real-time priority, Linux stops a process that leaves others no time at all."""


def measure_times(
    estimators: Sequence[tuple[int, Estimator]],
    images: Sequence[Image],
    rounds: int,
    frames: int,
    report_progress: Callable[[int], object],
) -> list[Time]:
    """Measure several estimators in turns.

    In each round, each estimator processes a block of frames. Every round starts with another estimator.

    Args:
        estimators: Number of threads and estimator.
        images: Images to process; they are repeated.
        rounds: Number of rounds.
        frames: Frames per block.
        report_progress: Called before each round with its number, from 0.

    Returns:
        One entry per estimator: medians over all its frames.
    """
    blocks: list[list[list[tuple[float, float]]]] = [[] for _ in estimators]
    for number in range(rounds):
        report_progress(number)
        for position in range(len(estimators)):
            index = (position + number) % len(estimators)
            blocks[index].append(_measure_block(estimators[index][1], images, frames))
            time.sleep(_PAUSE_S)
    return [_summarize(threads, found) for (threads, _), found in zip(estimators, blocks, strict=True)]


def _measure_block(estimator: Estimator, images: Sequence[Image], frames: int) -> list[tuple[float, float]]:
    """Return the time of whole frames, and of their inference, in milliseconds."""
    found = []
    for number in range(_WARM_UP + frames):
        image = images[number % len(images)]
        start = time.perf_counter()
        result = estimator.estimate(image)
        end = time.perf_counter()
        if number >= _WARM_UP:
            found.append(((end - start) * 1e3, result.timings_ms.inference))
    return found


def _summarize(threads: int, blocks: Sequence[Sequence[tuple[float, float]]]) -> Time:
    frame_ms, inference_ms = (median(times) for times in zip(*(one for block in blocks for one in block), strict=True))
    by_round = [median(frame for frame, _ in block) for block in blocks]
    return Time(threads, *(round(ms, 3) for ms in (frame_ms, inference_ms, min(by_round), max(by_round))))
