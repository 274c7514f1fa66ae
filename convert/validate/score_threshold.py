"""Default minimum pose score of a model, chosen on images without people, or on synthetic scenes without people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...runtime import PoseEstimator
from ...runtime.errors import InputError
from ...runtime.io.messages import iterate_with_progress
from ...runtime.synthetic import Scene
from ...runtime.types import Image
from ..quantize.calibration_images import ImageFolder
from .scene_check import compute_scene_size

MAX_FALSE_POSES_PER_100_IMAGES = 2.0
LOWEST_SYNTHETIC = 0.10
"""Smallest threshold without images of the user."""
_MIN_IMAGES = 50


@dataclass(frozen=True)
class MinScore:
    """Minimum pose score, and how it was chosen."""

    value: float
    origin: str


def choose_min_score(estimator: PoseEstimator, background: ImageFolder | None) -> MinScore:
    """Choose the default minimum pose score of a model.

    Synthetic scenes without people are easier than real images: they give too low a threshold. It is therefore at least
    0.10, the score of two clear limbs of 19. On 153 images of COCO, 0.10 removes 24 to 31 % of the poses of the
    published networks and costs 0.0 to 0.3 points of AP.

    Args:
        estimator: The model, with options that keep poses of any score.
        background: Images without people; None for synthetic scenes.
    """
    if background is not None:
        scores = collect_false_scores(estimator, background, len(background))
        return MinScore(
            choose_score_threshold(scores, len(background)), f"chosen on {len(background)} images without people"
        )
    spec = estimator.manifest.input
    size = compute_scene_size(spec.width, spec.height)
    scenes = (Scene(0, *size, seed=seed).render_frame(0).image for seed in range(_MIN_IMAGES))
    threshold = choose_score_threshold(collect_false_scores(estimator, scenes, _MIN_IMAGES), _MIN_IMAGES)
    if threshold > LOWEST_SYNTHETIC:
        return MinScore(threshold, f"chosen on {_MIN_IMAGES} synthetic scenes without people; --empty is better")
    return MinScore(LOWEST_SYNTHETIC, "the score of two clear limbs; --empty DIR chooses it on images without people")


def collect_false_scores(estimator: PoseEstimator, images: Iterable[Image], image_count: int) -> list[float]:
    """Detect poses in images without people, and return their scores."""
    progress = iterate_with_progress(images, "scoring background images", "image", image_count)
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
