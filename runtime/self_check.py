"""Does a model do here what it did where it was converted? An image and its poses that travel in the manifest.

The image is painted, so it needs no room and shows nobody; which scene it is depends on whom the network finds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from .errors import ModelError
from .estimator import PoseEstimator
from .model import container
from .model.manifest import Golden
from .oks import matched, sigmas
from .synthetic import Scene
from .types import Image, Pose

_SEEDS = range(8)
_SURE = 0.5
"""Score of a person who is found again whatever the processor's rounding, and from which no other scene is tried."""
_WEAK = 0.2
_SAME = 0.85
"""OKS of the same pose."""


def record(path: Path) -> None:
    """Store reference poses in the model file; files of untrained networks stay as they are."""
    estimator = PoseEstimator(path)
    if estimator.manifest.untrained:
        return
    best, highest = Golden(0, 0, ()), 0.0
    for people, seed in ((people, seed) for seed in _SEEDS for people in (1, 2)):
        poses = estimator.estimate(_image(people, seed)).poses
        score = max((pose.score for pose in poses), default=0.0)
        if score > highest:
            strong = [pose for pose in poses if pose.score >= max(_WEAK, score / 2)]
            best, highest = Golden(people, seed, tuple(map(_flat, strong))), score
        if score >= _SURE:
            break
    container.write(path, container.flatbuffer(path), replace(estimator.manifest, golden=best))


def check(estimator: PoseEstimator) -> str:
    """What the network does differently here; empty where it does the same.

    Raises ModelError where the manifest holds no image.
    """
    golden = estimator.manifest.golden
    if golden is None:
        raise ModelError("the manifest holds no golden image; convert the model again with this edgepose")
    image = _image(golden.people, golden.seed)
    found = estimator.estimate(image).poses
    wanted = [Pose(np.array(pose, np.float32).reshape(-1, 3), 1.0) for pose in golden.poses]
    spread = sigmas(estimator.manifest.skeleton_table.keypoints)
    agreed, _ = matched(wanted, found, spread, least=_SAME, min_keypoints=1)
    if agreed == len(wanted) and (wanted or not any(pose.score >= _SURE for pose in found)):
        return ""
    return (
        f"of {len(wanted)} people in the golden image (synthetic scene {golden.people}, seed {golden.seed}) {agreed} "
        f"were found again; {len(found)} were found in all"
    )


def _image(people: int, seed: int) -> Image:
    return Scene(people, 640, 480, seed=seed).frame(0).image


def _flat(pose: Pose) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in pose.keypoints.reshape(-1))
