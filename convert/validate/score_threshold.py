"""The pose score below which people are dropped by default: chosen on images without people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...runtime import PoseEstimator
from ...runtime.decode import DecoderOptions
from ...runtime.errors import InputError
from ..quantize.calibration_images import ImageFolder

PER_HUNDRED = 2.0
"""People that may be seen in a hundred images where nobody is."""
_ENOUGH = 50


def scores(model: Path, images: ImageFolder) -> list[float]:
    """Scores of everybody whom the model sees in the images, whatever its own threshold."""
    estimator = PoseEstimator(model, options=DecoderOptions())
    shown = tqdm(images, total=len(images), desc="scoring background images", unit="image", disable=None)
    return [pose.score for image in shown for pose in estimator.estimate(image)]


def choose_score_threshold(found: Sequence[float], images: int) -> float:
    """The threshold that leaves at most `PER_HUNDRED`, in steps of a hundredth.

    Raises InputError where there are too few images to tell.
    """
    if images < _ENOUGH:
        raise InputError(f"expected {_ENOUGH} images without people or more, got {images}")
    allowed = int(images * PER_HUNDRED / 100)
    ranked = sorted(found, reverse=True)
    highest = ranked[allowed] if len(ranked) > allowed else 0.0
    return float(np.floor(highest * 100 + 1) / 100) if highest > 0 else 0.0
