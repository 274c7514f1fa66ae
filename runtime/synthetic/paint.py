"""Painting of shaded shapes: everything is a stack of outlines that get smaller and lighter toward the light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..types import Image

Color = tuple[float, float, float]
Point = npt.NDArray[Any] | Sequence[float]

_SHIFT = 4
_LAYERS = 9
_LIGHT = np.array((-0.35, -0.5))  # direction toward the light, x right, y down


def polygon(canvas: Image, points: npt.NDArray[Any], color: Color) -> None:
    """A filled convex outline, (n, 2) pixels measured from the image's corner."""
    fixed = np.round((points - 0.5) * 2**_SHIFT).astype(np.int32)
    cv2.fillConvexPoly(canvas, fixed, color, cv2.LINE_AA, _SHIFT)


def capsule(canvas: Image, a: Point, b: Point, radius_a: float, radius_b: float, color: Color) -> None:
    """A limb: two circles and what lies between, round to the eye."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    for shrink, shade, shift in _layers(color, min(radius_a, radius_b)):
        polygon(canvas, _capsule_outline(a + shift, b + shift, radius_a * shrink, radius_b * shrink), shade)


def ellipse(canvas: Image, center: Point, radius_x: float, radius_y: float, color: Color) -> None:
    """A ball, flattened."""
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    circle = np.stack((np.cos(angles) * radius_x, np.sin(angles) * radius_y), axis=1)
    for shrink, shade, shift in _layers(color, min(radius_x, radius_y)):
        polygon(canvas, np.asarray(center) + shift + circle * shrink, shade)


def torso(canvas: Image, corners: npt.NDArray[Any], color: Color) -> None:
    """The trunk: `corners` (n, 2), a convex outline, shaded from its sides to its middle."""
    middle = corners.mean(axis=0)
    narrow = 0.5 * float(np.ptp(corners[:, 0]))
    for shrink, shade, shift in _layers(color, 0.6 * narrow):
        polygon(canvas, middle + shift + (corners - middle) * (shrink, 0.5 + 0.5 * shrink), shade)


def stroke(canvas: Image, points: npt.NDArray[Any], color: Color, thickness: float) -> None:
    """A thin open line through `points`, such as a brow or a mouth."""
    fixed = np.round((points - 0.5) * 2**_SHIFT).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, color, max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


def shaded(color: Color, factor: float) -> Color:
    """The same color, lighter or darker."""
    b, g, r = (min(255.0, channel * factor) for channel in color)
    return b, g, r


def texture(height: int, width: int, rng: np.random.Generator) -> Image:
    """A background of blurred colored noise: large soft shapes, smaller ones on top, darker toward the floor."""
    canvas = np.full((height, width, 3), rng.uniform(95, 150, 3), np.float32)
    for cells, strength in ((3, 55), (8, 28), (24, 12)):
        rows = max(2, round(cells * height / width))
        noise = rng.normal(0, strength, (rows + 1, cells + 1, 3)).astype(np.float32)
        noise = 0.5 * noise + 0.5 * noise.mean(axis=2, keepdims=True)
        canvas += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas *= np.linspace(1.05, 0.75, height, dtype=np.float32)[:, None, None]
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _layers(color: Color, radius: float) -> list[tuple[float, Color, npt.NDArray[Any]]]:
    """Outline size, shade and offset of each layer, outermost first; few where the shape is small."""
    count = max(2, min(_LAYERS, round(radius)))
    steps = np.linspace(0, 1, count)
    return [(1 - 0.75 * t, shaded(color, 0.66 + 0.48 * t), _LIGHT * radius * 0.45 * t) for t in steps]


def _capsule_outline(a: npt.NDArray[Any], b: npt.NDArray[Any], radius_a: float, radius_b: float) -> npt.NDArray[Any]:
    along = b - a
    angle = float(np.arctan2(along[1], along[0]))
    half = np.linspace(np.pi / 2, 3 * np.pi / 2, 9) + angle
    end_a = a + radius_a * np.stack((np.cos(half), np.sin(half)), axis=1)
    end_b = b - radius_b * np.stack((np.cos(half), np.sin(half)), axis=1)
    return np.concatenate((end_a, end_b))
