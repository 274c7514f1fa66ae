"""Synthetic scene: people in rows, each with its own appearance and motion, rendered frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi, sin

import cv2
import numpy as np
import numpy.typing as npt

from ..types import Image
from . import paint
from .body import Motion, Points, compute_keypoints
from .figure import Appearance, draw_person

_PERSON_WIDTH = 1.0
"""Width that a person with moving arms needs, as a fraction of its height."""

_NOISE_PATTERNS = 4


@dataclass(frozen=True)
class SceneFrame:
    """One frame of the scene.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        keypoints: (people, 18, 2) float32: exact x, y in pixels, measured from the corner of the image.
    """

    image: Image
    keypoints: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Person:
    motion: Motion
    look: Appearance
    x: float
    floor: float
    height: float
    sway: float


class Scene:
    """Synthetic scene with a number of moving people. The same arguments always give the same frames.

    Args:
        people: Number of people, 0 or more.
        width: Width of the image in pixels, 32 or more.
        height: Height of the image in pixels, 32 or more.
        seed: Seed of appearance, motion and background.
        fps: Frames per second of the motion.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, people: int = 2, width: int = 640, height: int = 480, *, seed: int = 0, fps: float = 30) -> None:
        if people < 0 or width < 32 or height < 32 or not fps > 0:
            raise ValueError(
                "expected people >= 0, width and height >= 32 and fps > 0, "
                f"got {people} people, {width}x{height}, {fps} fps"
            )
        self.people, self.width, self.height, self.fps = people, width, height, fps
        rng = np.random.default_rng(seed)
        self._background = paint.create_texture(height, width, rng)
        noise = (rng.standard_normal((height, width, 3), np.float32) for _ in range(_NOISE_PATTERNS))
        self._noise = [np.round(3.5 * pattern).astype(np.int16) for pattern in noise]
        self._people = _place_people(people, width, height, rng)

    def render_frame(self, index: int) -> SceneFrame:
        """Render frame `index`. Frames can be rendered in any order."""
        time_s = index / self.fps
        canvas = self._background.copy()
        keypoints_frame = np.zeros((self.people, 18, 2), np.float32)
        for i, person in enumerate(self._people):
            keypoints_frame[i] = _compute_keypoints_frame(person, time_s)
            draw_person(canvas, keypoints_frame[i], person.height, person.look)
        cv2.GaussianBlur(canvas, (3, 3), 0.6, dst=canvas)
        # Sensor noise. A few patterns are enough to make consecutive frames differ.
        cv2.add(canvas, self._noise[index % _NOISE_PATTERNS], dst=canvas, dtype=cv2.CV_8U)
        return SceneFrame(canvas, keypoints_frame)


def _compute_keypoints_frame(person: _Person, time_s: float) -> Points:
    points = compute_keypoints(person.motion, time_s)
    x = person.x + person.sway * sin(2 * pi * 0.25 * time_s + person.motion.phase)
    placed = np.stack((x + points[:, 0] * person.height, person.floor - points[:, 1] * person.height), axis=1)
    return placed.astype(np.float32)


def _place_people(people: int, width: int, height: int, rng: np.random.Generator) -> list[_Person]:
    """Place people in slots of equal size, in as many rows as give the largest people.

    The back rows come first, so that the front rows are drawn over them.
    """
    if not people:
        return []
    rows = max(range(1, people + 1), key=lambda n: min(height / n, width / ceil(people / n) / _PERSON_WIDTH))
    columns = ceil(people / rows)
    slot_width, slot_height = width / columns, height / rows
    placed = []
    for i in range(people):
        row, column = divmod(i, columns)
        in_row = min(columns, people - row * columns)
        max_height = min(slot_height, slot_width / _PERSON_WIDTH)
        size = max_height * rng.uniform(0.82, 0.92)
        x = (column + 0.5 + (columns - in_row) / 2) * slot_width
        floor = (row + 0.5) * slot_height + 0.5 * size
        placed.append(
            _Person(
                Motion.create_random(rng),
                Appearance.create_random(rng),
                x,
                floor,
                size,
                0.06 * max_height * rng.uniform(0, 1),
            )
        )
    return placed
