"""People placed side by side and in rows, each moving in its own way, frame after frame."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi, sin

import cv2
import numpy as np
import numpy.typing as npt

from ..types import Image
from . import paint
from .body import Motion, Points, keypoints
from .figure import Look, draw

_ROOM = 1.0
"""Width that a figure with moving arms needs, as a share of its height."""

_NOISE_FRAMES = 4


@dataclass(frozen=True)
class SceneFrame:
    """`image`: (H, W, 3) uint8 BGR. `keypoints`: (people, 18, 2) float32, exact, in pixels from the corner."""

    image: Image
    keypoints: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Person:
    motion: Motion
    look: Look
    x: float
    floor: float
    height: float
    sway: float


class Scene:
    """Any number of people in an image of any size; the same seed gives the same frames."""

    def __init__(self, people: int = 2, width: int = 640, height: int = 480, *, seed: int = 0, fps: float = 30) -> None:
        """Raises ValueError for a size below 32 pixels a side, a negative number of people or no frame rate."""
        if people < 0 or width < 32 or height < 32 or not fps > 0:
            raise ValueError(
                f"expected people >= 0, sides >= 32 and fps > 0, got {people} people, {width}x{height}, {fps} fps"
            )
        self.people, self.width, self.height, self.fps = people, width, height, fps
        rng = np.random.default_rng(seed)
        self._background = paint.texture(height, width, rng)
        noise = (rng.standard_normal((height, width, 3), np.float32) for _ in range(_NOISE_FRAMES))
        self._noise = [np.round(3.5 * pattern).astype(np.int16) for pattern in noise]
        self._people = _place(people, width, height, rng)

    def frame(self, index: int) -> SceneFrame:
        """The scene at frame `index`; frames may be asked for in any order."""
        time_s = index / self.fps
        canvas = self._background.copy()
        truth = np.zeros((self.people, 18, 2), np.float32)
        for i, person in enumerate(self._people):
            truth[i] = _in_image(person, time_s)
            draw(canvas, truth[i], person.height, person.look)
        cv2.GaussianBlur(canvas, (3, 3), 0.6, dst=canvas)
        # The noise of a sensor: a few patterns in turn are enough to differ from frame to frame.
        cv2.add(canvas, self._noise[index % _NOISE_FRAMES], dst=canvas, dtype=cv2.CV_8U)
        return SceneFrame(canvas, truth)


def _in_image(person: _Person, time_s: float) -> Points:
    points = keypoints(person.motion, time_s)
    x = person.x + person.sway * sin(2 * pi * 0.25 * time_s + person.motion.phase)
    placed = np.stack((x + points[:, 0] * person.height, person.floor - points[:, 1] * person.height), axis=1)
    return placed.astype(np.float32)


def _place(people: int, width: int, height: int, rng: np.random.Generator) -> list[_Person]:
    """Rows of equal slots, as many as make the figures largest; people at the back come first, to be painted over."""
    if not people:
        return []
    rows = max(range(1, people + 1), key=lambda n: min(height / n, width / ceil(people / n) / _ROOM))
    columns = ceil(people / rows)
    slot_width, slot_height = width / columns, height / rows
    placed = []
    for i in range(people):
        row, column = divmod(i, columns)
        in_row = min(columns, people - row * columns)
        room = min(slot_height, slot_width / _ROOM)
        size = room * rng.uniform(0.82, 0.92)
        x = (column + 0.5 + (columns - in_row) / 2) * slot_width
        floor = (row + 0.5) * slot_height + 0.5 * size
        placed.append(_Person(Motion.random(rng), Look.random(rng), x, floor, size, 0.06 * room * rng.uniform(0, 1)))
    return placed
