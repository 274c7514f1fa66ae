"""Keypoints of the synthetic people in other skeletons than coco18, found by their names."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..skeleton import COCO18, Skeleton

Points = npt.NDArray[np.float32]

_SHIN = 0.235
"""Length of the shin as a fraction of the person's height, as in `body`."""
_TOP_OF_HEAD = 0.87
"""Distance from the ears to the top of the head, as a fraction of the distance from the neck to the ears."""
_FOOT_OFFSETS = {"heel": (0.0, 0.018), "big_toe": (0.03, 0.035), "small_toe": (0.045, 0.033)}
"""Position relative to the ankle, outward and down, as a fraction of the person's height, as `figure` draws it."""
_DERIVED_NAMES = {
    "mid_hip", "chest", "head", *(f"{side}_{part}" for side in ("left", "right") for part in _FOOT_OFFSETS)
}  # fmt: skip


def has_figure(skeleton: Skeleton) -> bool:
    """Return True if the synthetic people have all keypoints of a skeleton. A skeleton of hands has none of them."""
    return set(skeleton.keypoints) <= _DERIVED_NAMES | set(COCO18.keypoints)


def derive_keypoints(people: Points, skeleton: Skeleton) -> Points:
    """Compute the keypoints of a skeleton from those of COCO18.

    Args:
        people: (n, 18, 2): x, y of synthetic people, which face the viewer; x points to the right. NaN if absent.
        skeleton: A skeleton for which `has_figure` is true.

    Returns:
        (n, keypoints, 2) float32, in the same coordinates. NaN if a keypoint that is needed is absent.

    Raises:
        ValueError: The synthetic people do not have the keypoints of the skeleton.
    """
    if not has_figure(skeleton):
        raise ValueError(f"the synthetic people do not have the keypoints of the skeleton {skeleton.name}")
    body: dict[str, npt.NDArray[np.floating]] = {name: people[:, index] for index, name in enumerate(COCO18.keypoints)}
    body["mid_hip"] = (body["left_hip"] + body["right_hip"]) / 2
    body["chest"] = (body["neck"] + body["mid_hip"]) / 2
    ears = (body["left_ear"] + body["right_ear"]) / 2
    body["head"] = ears + _TOP_OF_HEAD * (ears - body["neck"])
    for side, outward in (("left", 1), ("right", -1)):
        ankle, shin = body[f"{side}_ankle"], body[f"{side}_ankle"] - body[f"{side}_knee"]
        height = np.hypot(shin[:, 0], shin[:, 1])[:, None] / _SHIN
        # Down is where the shin points to: y grows downward in images and upward in body coordinates.
        directions = np.stack((np.full(len(shin), outward), np.sign(shin[:, 1])), axis=1)
        for part, offset in _FOOT_OFFSETS.items():
            body[f"{side}_{part}"] = ankle + directions * np.array(offset) * height
    return np.stack([body[name] for name in skeleton.keypoints], axis=1).astype(np.float32)
