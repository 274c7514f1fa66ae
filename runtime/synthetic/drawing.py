"""Drawing of people who act: the figure of the flat scene, turned with the torso."""

from __future__ import annotations

from math import hypot

import cv2
import numpy as np

from ..types import Image
from .figure import Appearance, draw_person
from .stance import Vector

_LENGTHS = ((1, 8, 0.31), (8, 9, 0.235), (9, 10, 0.235), (11, 12, 0.235), (12, 13, 0.235), (2, 5, 0.224), (2, 3, 0.17))
"""Limbs, and their lengths as shares of the height of the person."""
_MARGIN = 1.2
"""Size of the turned part of the image, as a share of the height of the person, on each side."""


def draw_actor(canvas: Image, points: Vector, look: Appearance) -> None:
    """Draw a person in any posture. Networks find it as well as a real person; they do not find it if it lies.

    Args:
        canvas: (H, W, 3) uint8 BGR; changed in place.
        points: (18, 2): keypoints in pixels.
        look: Appearance.
    """
    height, width = canvas.shape[:2]
    hip, neck = points[[8, 11]].mean(axis=0), points[1]
    size = max(hypot(*(points[a] - points[b])) / share for a, b, share in _LENGTHS)
    angle = float(np.degrees(np.arctan2(neck[0] - hip[0], hip[1] - neck[1])))
    side = int(2 * _MARGIN * size)
    # The figure is drawn upright on a turned copy of the image; what has changed is turned back.
    turn = cv2.getRotationMatrix2D((float(hip[0]), float(hip[1])), angle, 1.0)
    turn[:, 2] += side / 2 - hip
    before = np.asarray(cv2.warpAffine(canvas, turn, (side, side), borderMode=cv2.BORDER_REFLECT), np.uint8)
    after = before.copy()
    draw_person(after, (points @ turn[:, :2].T + turn[:, 2]).astype(np.float32), size, look)
    mask = (after != before).any(axis=2).astype(np.uint8) * 255
    back = cv2.invertAffineTransform(turn)
    weight = cv2.warpAffine(mask, back, (width, height))[..., None] / 255.0
    figure = cv2.warpAffine(after, back, (width, height))
    canvas[:] = np.round(canvas * (1 - weight) + figure * weight).astype(np.uint8)
