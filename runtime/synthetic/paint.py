"""Drawing of shaded shapes. Each is a stack of outlines that get smaller and lighter toward the light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..types import Image

Color = tuple[float, float, float]
Point = npt.NDArray[Any] | Sequence[float]

_FRACTION_BITS = 4  # cv2 takes fixed-point coordinates
_MAX_LAYERS = 9
_LIGHT_DIRECTION = np.array((-0.35, -0.5))  # toward the light; x right, y down


def fill_polygon(canvas: Image, points: npt.NDArray[Any], color: Color) -> None:
    """Fill a convex polygon: (n, 2) points in pixels, measured from the corner of the image."""
    fixed = np.round((points - 0.5) * 2**_FRACTION_BITS).astype(np.int32)
    cv2.fillConvexPoly(canvas, fixed, color, cv2.LINE_AA, _FRACTION_BITS)


def fill_capsule(canvas: Image, a: Point, b: Point, radius_a: float, radius_b: float, color: Color) -> None:
    """Fill a limb: two circles and the area between them, shaded like a cylinder."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    for shrink, shade, shift in _make_layers(color, min(radius_a, radius_b)):
        fill_polygon(canvas, _make_capsule_outline(a + shift, b + shift, radius_a * shrink, radius_b * shrink), shade)


def fill_ellipse(canvas: Image, center: Point, radius_x: float, radius_y: float, color: Color) -> None:
    """Fill an ellipse, shaded like a ball."""
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    circle = np.stack((np.cos(angles) * radius_x, np.sin(angles) * radius_y), axis=1)
    for shrink, shade, shift in _make_layers(color, min(radius_x, radius_y)):
        fill_polygon(canvas, np.asarray(center) + shift + circle * shrink, shade)


def fill_torso(canvas: Image, corners: npt.NDArray[Any], color: Color) -> None:
    """Fill a trunk: `corners` is a convex polygon (n, 2), shaded from its sides to its middle."""
    middle = corners.mean(axis=0)
    narrow = 0.5 * float(np.ptp(corners[:, 0]))
    for shrink, shade, shift in _make_layers(color, 0.6 * narrow):
        fill_polygon(canvas, middle + shift + (corners - middle) * (shrink, 0.5 + 0.5 * shrink), shade)


def draw_line(canvas: Image, points: npt.NDArray[Any], color: Color, thickness: float) -> None:
    """Draw a thin open line through `points` (n, 2), for example a brow or a mouth."""
    fixed = np.round((points - 0.5) * 2**_FRACTION_BITS).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, color, max(1, round(thickness)), cv2.LINE_AA, _FRACTION_BITS)


def scale_brightness(color: Color, factor: float) -> Color:
    """Make a color lighter (`factor` > 1) or darker (`factor` < 1)."""
    b, g, r = (min(255.0, channel * factor) for channel in color)
    return b, g, r


def create_texture(height: int, width: int, rng: np.random.Generator) -> Image:
    """Create a background of smooth colored noise on three scales, darker toward the bottom.

    Returns:
        (height, width, 3) uint8.
    """
    canvas = np.full((height, width, 3), rng.uniform(95, 150, 3), np.float32)
    for cells, strength in ((3, 55), (8, 28), (24, 12)):
        rows = max(2, round(cells * height / width))
        noise = rng.normal(0, strength, (rows + 1, cells + 1, 3)).astype(np.float32)
        noise = 0.5 * noise + 0.5 * noise.mean(axis=2, keepdims=True)
        canvas += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas *= np.linspace(1.05, 0.75, height, dtype=np.float32)[:, None, None]
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _make_layers(color: Color, radius: float) -> list[tuple[float, Color, npt.NDArray[Any]]]:
    """Return relative size, color and offset of each layer, the outermost first. Small shapes get fewer layers."""
    count = max(2, min(_MAX_LAYERS, round(radius)))
    steps = np.linspace(0, 1, count)
    return [
        (1 - 0.75 * t, scale_brightness(color, 0.66 + 0.48 * t), _LIGHT_DIRECTION * radius * 0.45 * t) for t in steps
    ]


def _make_capsule_outline(
    a: npt.NDArray[Any], b: npt.NDArray[Any], radius_a: float, radius_b: float
) -> npt.NDArray[Any]:
    along = b - a
    angle = float(np.arctan2(along[1], along[0]))
    half = np.linspace(np.pi / 2, 3 * np.pi / 2, 9) + angle
    end_a = a + radius_a * np.stack((np.cos(half), np.sin(half)), axis=1)
    end_b = b - radius_b * np.stack((np.cos(half), np.sin(half)), axis=1)
    return np.concatenate((end_a, end_b))
