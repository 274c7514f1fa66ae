"""What of an image may leave the process: all of it, a blur, or nothing but the skeletons."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from ...runtime.skeleton import Skeleton
from ...runtime.types import EstimateResult, Frame, Image
from ...runtime.visualize.draw import draw_poses

Privacy = Literal["none", "blur", "silhouette"]

_CELLS = 24
"""Of the blur, along the longer side: a face is one or two of them, whatever the size of the image."""


def apply_privacy(frame: Frame, estimate: EstimateResult, skeleton: Skeleton, privacy: Privacy) -> Image:
    """The image (H, W, 3) BGR with the skeletons drawn on what `privacy` leaves of it."""
    if privacy == "silhouette":
        return draw_poses(np.zeros((*frame.image.shape[:2], 3), np.uint8), estimate, skeleton)
    image = _colors(frame)
    return draw_poses(_blurred(image) if privacy == "blur" else image, estimate, skeleton)


def _colors(frame: Frame) -> Image:
    """The frame as (H, W, 3) BGR."""
    image = frame.image
    if image.ndim == 2 or image.shape[2] != 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_BGRA2BGR), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8) if frame.channel_order == "rgb" else image


def _blurred(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = _CELLS / max(height, width)
    small = cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
