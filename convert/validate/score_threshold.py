"""Default minimum pose score of a model, chosen on images without people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...runtime import PoseEstimator
from ...runtime.decode import DecoderOptions
from ...runtime.errors import InputError
from ...runtime.io.messages import iterate_with_progress
from ..quantize.calibration_images import ImageFolder

MAX_FALSE_POSES_PER_100_IMAGES = 2.0
_MIN_IMAGES = 50


def collect_false_scores(model: Path, images: ImageFolder) -> list[float]:
    """Detect poses with any score in images without people, and return their scores."""
    estimator = PoseEstimator(model, options=DecoderOptions())
    progress = iterate_with_progress(images, "scoring background images", "image", len(images))
    return [pose.score for image in progress for pose in estimator.estimate(image)]


def check_image_count(image_count: int) -> None:
    """Raise InputError if there are too few images without people to choose a threshold."""
    if image_count < _MIN_IMAGES:
        raise InputError(f"expected at least {_MIN_IMAGES} images without people, got {image_count}")


def choose_score_threshold(false_scores: Sequence[float], image_count: int) -> float:
    """Choose the minimum pose score that leaves at most 2 false poses per 100 images.

    Args:
        false_scores: Scores of all poses that were found in images without people.
        image_count: Number of these images.

    Returns:
        The threshold, a multiple of 0.01; 0.0 if no threshold is needed.

    Raises:
        InputError: There are fewer than 50 images.
    """
    check_image_count(image_count)
    allowed = int(image_count * MAX_FALSE_POSES_PER_100_IMAGES / 100)
    ranked = sorted(false_scores, reverse=True)
    highest_rejected = ranked[allowed] if len(ranked) > allowed else 0.0
    return float(np.floor(highest_rejected * 100 + 1) / 100) if highest_rejected > 0 else 0.0
