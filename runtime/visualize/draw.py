"""Drawing of skeletons on an image."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from functools import cache

import cv2
import numpy as np

from ..skeleton import Skeleton
from ..types import Box, Image, Pose

_SUBPIXEL_BITS = 4
REFERENCE_SIDE_PX = 640
"""Longer side of an image in which lines are 1 to 8 pixels wide; the limits grow with the image."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT_PX = 22
"""Height of a digit of the font at scale 1."""


def draw_poses(image: Image, poses: Iterable[Pose] | Pose, skeleton: Skeleton | None = None) -> Image:
    """Draw the limbs of all poses as colored lines, the keypoints as dots, and the number of a tracked person.

    Each limb has a color of its own, so left and right can be distinguished. The line width depends on the size of the
    person, so that small people in the background stay visible. Its limits are 1 and 8 pixels in an image of 640x480
    pixels and scale with the image. The number (`Pose.person`) is written above the person.

    Args:
        image: (H, W, 3) uint8 BGR; it is not changed.
        poses: Poses in pixels of the image.
        skeleton: Skeleton of the poses; default: the one that each pose has.

    Returns:
        A copy of the image with the drawings.

    Raises:
        ValueError: `image` is not such an array.
        TypeError: `poses` are not poses.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"draw_poses: expected an image of shape (H, W, 3) and dtype uint8, got {got}")
    poses = (poses,) if isinstance(poses, Pose) else poses
    if not isinstance(poses, Iterable):
        raise TypeError(f"draw_poses: expected poses or a result, got {type(poses).__name__}")
    canvas = image.copy()
    for pose in poses:
        thickness = _choose_thickness(pose, image.shape)
        border = max(2, thickness // 4 * 2)
        shown = skeleton or pose.skeleton
        for limb, color in zip(shown.limbs, compute_limb_colors(shown), strict=True):
            if limb.can_seed and pose.keypoints[limb.a, 2] > 0 and pose.keypoints[limb.b, 2] > 0:
                a, b = (_to_fixed_point(pose.keypoints[part]) for part in (limb.a, limb.b))
                cv2.line(canvas, a, b, (0, 0, 0), thickness + border, cv2.LINE_AA, _SUBPIXEL_BITS)
                cv2.line(canvas, a, b, color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        for keypoint in pose.keypoints[pose.keypoints[:, 2] > 0]:
            radius = int((0.5 + thickness) * 2**_SUBPIXEL_BITS)
            cv2.circle(canvas, _to_fixed_point(keypoint), radius, (0, 0, 0), -1, cv2.LINE_AA, _SUBPIXEL_BITS)
            cv2.circle(
                canvas, _to_fixed_point(keypoint), radius * 2 // 3, (255, 255, 255), -1, cv2.LINE_AA, _SUBPIXEL_BITS
            )
        if pose.person:
            _draw_number(canvas, pose, thickness)
    return canvas


@cache
def compute_limb_colors(skeleton: Skeleton) -> tuple[tuple[int, int, int], ...]:
    """Return one BGR color per limb, 0 to 255, with evenly spaced hues."""
    count = len(skeleton.limbs)
    hues = (colorsys.hsv_to_rgb(i / count, 0.85, 1.0) for i in range(count))
    return tuple((round(255 * b), round(255 * g), round(255 * r)) for r, g, b in hues)


def _choose_thickness(pose: Pose, shape: tuple[int, ...]) -> int:
    """Return the line width in pixels: 1/90 of the size of the person, within limits that scale with the image."""
    scale = max(shape[:2]) / REFERENCE_SIDE_PX
    box = pose.bbox
    return max(1, round(float(np.clip(max(box.width, box.height) / 90, scale, 8 * scale))))


def locate_number(pose: Pose, shape: tuple[int, ...]) -> Box:
    """Return where `draw_poses` writes the number of a person: above the head, inside the image.

    Args:
        pose: Pose with a number and at least one keypoint.
        shape: Shape of the image: height, width.
    """
    height, width = shape[:2]
    thickness = _choose_thickness(pose, shape)
    scale, stroke = _choose_number_size(shape, thickness)
    (text_width, text_height), _ = cv2.getTextSize(str(pose.person), _FONT, scale, stroke)
    box = pose.bbox
    x = int(np.clip(box.x + box.width / 2 - text_width / 2, 0, max(0, width - text_width)))
    top, bottom = text_height + stroke, max(text_height + stroke, height - stroke)
    y = int(np.clip(box.y - max(4 * thickness, 0.08 * box.height), top, bottom))
    return Box(x, y - text_height, text_width, text_height)


def _choose_number_size(shape: tuple[int, ...], thickness: int) -> tuple[float, int]:
    """Return the scale of the font and the line width of the number."""
    scale = max(0.35, max(shape[:2]) / REFERENCE_SIDE_PX * 0.5, thickness * 5 / _FONT_HEIGHT_PX)
    return scale, max(1, round(scale * 1.5))


def _draw_number(canvas: Image, pose: Pose, thickness: int) -> None:
    """Write the number of the person above the head, inside the image."""
    scale, stroke = _choose_number_size(canvas.shape, thickness)
    place = locate_number(pose, canvas.shape)
    corner = int(place.x), int(place.y + place.height)
    cv2.putText(canvas, str(pose.person), corner, _FONT, scale, (0, 0, 0), 3 * stroke, cv2.LINE_AA)
    cv2.putText(canvas, str(pose.person), corner, _FONT, scale, (255, 255, 255), stroke, cv2.LINE_AA)


def _to_fixed_point(keypoint: np.typing.NDArray[np.float32]) -> tuple[int, int]:
    # The center of the first pixel is (0.5, 0.5) in keypoints and (0, 0) in OpenCV.
    x, y = (np.clip(keypoint[:2], -1e4, 1e5) - 0.5) * 2**_SUBPIXEL_BITS
    return round(float(x)), round(float(y))
