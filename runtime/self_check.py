"""Self-check of a model: compare its poses on a synthetic scene with reference poses stored in the manifest.

The reference poses are recorded on the machine that converts the model and checked on the board. The scene is rendered
from a number of people and a seed, so it takes no space in the file and shows no real person. The scene is chosen so
that the network finds its people.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from .errors import ModelError
from .estimator import PoseEstimator
from .model import container
from .model.manifest import Golden, ModelManifest
from .oks import count_matches, get_sigmas
from .synthetic import Scene, has_figure
from .types import Image, Pose

_SEEDS = range(8)
_RELIABLE_SCORE = 0.5
"""Pose score from which a person is found on every processor, despite different rounding."""
_MIN_REFERENCE_SCORE = 0.2
"""Poses with a lower score are not used as references."""
_MIN_OKS = 0.85
"""Two poses are the same if their OKS is at least this high."""


def record(path: Path) -> None:
    """Store reference poses in the model file.

    Models with random (untrained) weights are not changed, and models with a skeleton that the people of the scene do
    not have, such as one of hands.

    Of 16 scenes (8 seeds, one and two people) the one with the highest pose score is used. The search stops at the
    first scene with a score of 0.5 or more.

    Raises:
        ModelError: The file is missing or damaged, or has no manifest.
        OutputError: The file cannot be written.
    """
    estimator = PoseEstimator(path)
    if estimator.manifest.untrained or not has_figure(estimator.manifest.skeleton_table):
        return
    best, highest = Golden(0, 0, ()), 0.0
    for people, seed in ((people, seed) for seed in _SEEDS for people in (1, 2)):
        poses = estimator.estimate(_render_scene(people, seed)).poses
        score = max((pose.score for pose in poses), default=0.0)
        if score > highest:
            strong = [pose for pose in poses if pose.score >= max(_MIN_REFERENCE_SCORE, score / 2)]
            best, highest = Golden(people, seed, tuple(map(_flatten, strong))), score
        if score >= _RELIABLE_SCORE:
            break
    container.write(path, container.read_flatbuffer(path), replace(estimator.manifest, golden=best))


def check(estimator: PoseEstimator) -> str:
    """Run the model on its reference scene and compare the poses with the reference poses.

    Returns:
        A description of the difference, or an empty string if all reference poses were found. If there are no
        reference poses, no pose with a score of 0.5 or more may be found. For a skeleton that the people of the scene
        do not have, only the model's computation is tried.

    Raises:
        ModelError: The manifest has no reference poses.
    """
    golden, skeleton = estimator.manifest.golden, estimator.manifest.skeleton_table
    if golden is None and not has_figure(skeleton):
        estimator.estimate(_render_scene(1, 0))
        return ""
    if golden is None:
        raise ModelError("the manifest has no reference poses; convert the model again with this version of edgepose")
    image = _render_scene(golden.people, golden.seed)
    found = estimator.estimate(image).poses
    wanted = [Pose(np.array(pose, np.float32).reshape(-1, 3), 1.0, skeleton=skeleton) for pose in golden.poses]
    found_again, _ = count_matches(wanted, found, get_sigmas(skeleton), min_oks=_MIN_OKS, min_keypoints=1)
    if found_again == len(wanted) and (wanted or not any(pose.score >= _RELIABLE_SCORE for pose in found)):
        return ""
    return (
        f"{found_again} of {len(wanted)} reference poses were found; {len(found)} poses in total (synthetic scene, "
        f"{golden.people} people, seed {golden.seed})"
    )


def describe(manifest: ModelManifest) -> str:
    """Return what a passed self-check has shown, such as "2 reference poses reproduced"."""
    if manifest.golden is None:
        return f"runs; no reference poses, because the synthetic scene has no figure for {manifest.skeleton}"
    return f"{len(manifest.golden.poses)} reference poses reproduced"


def _render_scene(people: int, seed: int) -> Image:
    return Scene(people, 640, 480, seed=seed).render_frame(0).image


def _flatten(pose: Pose) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in pose.keypoints.reshape(-1))
