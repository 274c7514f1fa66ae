"""The rival: upstream's way of decoding, written with OpenCV and NumPy.

tf-pose-estimation enlarges the maps four times, smooths the heatmaps with a 25x25 Gaussian (sigma 3), takes 3x3
maxima and groups them by ten PAF samples a limb (tf_pose/tensblur and tf_pose/pafprocess). Vectorized here, so that
what is measured is the method, not Python.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...runtime.skeleton import COCO18, Skeleton

Maps = npt.NDArray[np.float32]

ENLARGE = 4
_SAMPLES, _NEEDED = 10, 8


def enlarge_and_find(heatmaps: Maps, pafs: Maps) -> tuple[Maps, npt.NDArray[np.bool_], Maps]:
    """Upstream's first half: enlarged heatmaps, where their smoothed maxima are, and enlarged PAFs."""
    height, width = heatmaps.shape[:2]
    size = (width * ENLARGE, height * ENLARGE)
    large = cv2.resize(heatmaps, size, interpolation=cv2.INTER_AREA)
    large_pafs = np.concatenate(
        [cv2.resize(pafs[:, :, i : i + 19], size, interpolation=cv2.INTER_AREA) for i in (0, 19)], axis=2
    )
    smooth = np.concatenate([cv2.GaussianBlur(large[:, :, i : i + 4], (25, 25), 3) for i in range(0, 19, 4)], axis=2)
    window = np.ones((3, 3), np.uint8)
    highest = np.concatenate([cv2.dilate(smooth[:, :, i : i + 4], window) for i in range(0, 19, 4)], axis=2)
    peaks = np.asarray((smooth == highest) & (smooth > 0.05), np.bool_)
    return np.asarray(smooth, np.float32), peaks, np.asarray(large_pafs, np.float32)


def group(smooth: Maps, maxima: npt.NDArray[np.bool_], pafs: Maps, skeleton: Skeleton = COCO18) -> list[dict[int, Any]]:
    """Upstream's second half: connections, best first, joined into people."""
    parts = [np.argwhere(maxima[:, :, part]) for part in range(len(skeleton.keypoints))]
    scores = [smooth[cells[:, 0], cells[:, 1], part] for part, cells in enumerate(parts)]
    people: list[dict[int, Any]] = []
    for limb in skeleton.limbs:
        for p, q in _pairs(parts[limb.a], parts[limb.b], scores, pafs, limb):
            holders = [person for person in people if person.get(limb.a) == p or person.get(limb.b) == q]
            if holders:
                holders[0].setdefault(limb.a, p)
                holders[0].setdefault(limb.b, q)
            else:
                people.append({limb.a: p, limb.b: q})
    return [person for person in people if len(person) >= 3]


def _pairs(a: npt.NDArray[Any], b: npt.NDArray[Any], scores: list[Any], pafs: Maps, limb: Any) -> list[tuple[int, int]]:
    if not len(a) or not len(b):
        return []
    step = np.linspace(0, 1, _SAMPLES)[None, None, :, None]
    vector = (b[None, :] - a[:, None]).astype(np.float32)
    length = np.maximum(1e-6, np.hypot(vector[..., 0], vector[..., 1]))
    cells = np.round(a[:, None, None] + step * vector[:, :, None]).astype(int)
    field_x, field_y = (pafs[cells[..., 0], cells[..., 1], channel] for channel in (limb.paf_x, limb.paf_y))
    along = (field_x * vector[..., 1, None] + field_y * vector[..., 0, None]) / length[..., None]
    passed = (along > 0.05).sum(axis=2)
    rank = along.mean(axis=2) + np.minimum(0.5 * pafs.shape[0] / length - 1, 0)
    rank += 0.1 * (scores[limb.a][:, None] + scores[limb.b][None])
    order = [divmod(int(i), len(b)) for i in np.argsort(-rank, axis=None)]
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    pairs = []
    for p, q in order:
        if passed[p, q] >= _NEEDED and rank[p, q] > 0 and p not in taken_a and q not in taken_b:
            taken_a.add(p)
            taken_b.add(q)
            pairs.append((p, q))
    return pairs
