"""Privacy modes for images that leave the process: unchanged, blurred, or only the skeletons on black."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from ...runtime.skeleton import Skeleton
from ...runtime.types import EstimateResult, Frame, Image
from ...runtime.visualize.draw import draw_poses

Privacy = Literal["none", "blur", "silhouette"]

_BLUR_CELLS = 24
"""Number of cells of the blur along the longer side. A face covers one or two cells at any image size."""


def apply_privacy(frame: Frame, estimate: EstimateResult, skeleton: Skeleton, privacy: Privacy) -> Image:
    """Draw the skeletons on the image that the privacy mode allows.

    Args:
        frame: Frame with a gray, BGR, RGB or BGRA image, uint8.
        estimate: Poses in pixels of the frame.
        skeleton: Skeleton of the poses.
        privacy: `none` keeps the image, `blur` blurs it, `silhouette` replaces it with black.

    Returns:
        Image (height, width, 3), uint8, BGR.
    """
    if privacy == "silhouette":
        return draw_poses(np.zeros((*frame.image.shape[:2], 3), np.uint8), estimate, skeleton)
    image = _convert_to_bgr(frame)
    return draw_poses(_blur(image) if privacy == "blur" else image, estimate, skeleton)


def _convert_to_bgr(frame: Frame) -> Image:
    """Return the image of the frame as (height, width, 3) BGR."""
    image = frame.image
    if image.ndim == 2 or image.shape[2] != 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_BGRA2BGR), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8) if frame.channel_order == "rgb" else image


def _blur(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = _BLUR_CELLS / max(height, width)
    small = cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
