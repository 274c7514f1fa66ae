"""Drawing of skeletons on an image."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from functools import cache

import cv2
import numpy as np

from ..skeleton import Skeleton
from ..types import Image, Pose

_SUBPIXEL_BITS = 4


def draw_poses(image: Image, poses: Iterable[Pose] | Pose, skeleton: Skeleton | None = None) -> Image:
    """Draw the limbs of all poses as colored lines and the keypoints as dots.

    Each limb has a color of its own, so left and right can be distinguished. The line width depends on the size of the
    person (1 to 8 pixels), so that small people in the background stay visible.

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
        thickness = _choose_thickness(pose)
        shown = skeleton or pose.skeleton
        for limb, color in zip(shown.limbs, compute_limb_colors(shown), strict=True):
            if limb.can_seed and pose.keypoints[limb.a, 2] > 0 and pose.keypoints[limb.b, 2] > 0:
                a, b = (_to_fixed_point(pose.keypoints[part]) for part in (limb.a, limb.b))
                cv2.line(canvas, a, b, (0, 0, 0), thickness + 2, cv2.LINE_AA, _SUBPIXEL_BITS)
                cv2.line(canvas, a, b, color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        for keypoint in pose.keypoints[pose.keypoints[:, 2] > 0]:
            radius = int((0.5 + thickness) * 2**_SUBPIXEL_BITS)
            cv2.circle(canvas, _to_fixed_point(keypoint), radius, (0, 0, 0), -1, cv2.LINE_AA, _SUBPIXEL_BITS)
            cv2.circle(
                canvas, _to_fixed_point(keypoint), radius * 2 // 3, (255, 255, 255), -1, cv2.LINE_AA, _SUBPIXEL_BITS
            )
    return canvas


@cache
def compute_limb_colors(skeleton: Skeleton) -> tuple[tuple[int, int, int], ...]:
    """Return one BGR color per limb, 0 to 255, with evenly spaced hues."""
    count = len(skeleton.limbs)
    hues = (colorsys.hsv_to_rgb(i / count, 0.85, 1.0) for i in range(count))
    return tuple((round(255 * b), round(255 * g), round(255 * r)) for r, g, b in hues)


def _choose_thickness(pose: Pose) -> int:
    box = pose.bbox
    return int(np.clip(max(box.width, box.height) / 90, 1, 8))


def _to_fixed_point(keypoint: np.typing.NDArray[np.float32]) -> tuple[int, int]:
    # The center of the first pixel is (0.5, 0.5) in keypoints and (0, 0) in OpenCV.
    x, y = (np.clip(keypoint[:2], -1e4, 1e5) - 0.5) * 2**_SUBPIXEL_BITS
    return round(float(x)), round(float(y))
