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


def scores(model: Path, pictures: ImageFolder) -> list[float]:
    """Scores of everybody whom the model sees in the images, whatever its own threshold."""
    estimator = PoseEstimator(model, options=DecoderOptions())
    shown = tqdm(pictures, total=len(pictures), desc="looking for nobody", unit="image", disable=None)
    return [pose.score for picture in shown for pose in estimator.estimate(picture)]


def choose_score_threshold(found: Sequence[float], pictures: int) -> float:
    """The threshold that leaves at most `PER_HUNDRED`, in steps of a hundredth.

    Raises InputError where there are too few images to tell.
    """
    if pictures < _ENOUGH:
        raise InputError(f"expected {_ENOUGH} images without people or more, got {pictures}")
    allowed = int(pictures * PER_HUNDRED / 100)
    ranked = sorted(found, reverse=True)
    highest = ranked[allowed] if len(ranked) > allowed else 0.0
    return float(np.floor(highest * 100 + 1) / 100) if highest > 0 else 0.0
