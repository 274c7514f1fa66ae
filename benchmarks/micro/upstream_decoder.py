"""Decoder of tf-pose-estimation (upstream), written with OpenCV and NumPy for comparison.

tf-pose-estimation enlarges the maps four times, smooths the heatmaps with a 25x25 Gaussian (sigma 3), takes 3x3 maxima
and groups them with ten PAF samples per limb (tf_pose/tensblur and tf_pose/pafprocess). This version is vectorized, so
that the method is measured and not Python.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...runtime.skeleton import COCO18, Skeleton

Maps = npt.NDArray[np.float32]

ENLARGE = 4
_SAMPLES, _MIN_SAMPLES = 10, 8


def enlarge_and_find(heatmaps: Maps, pafs: Maps) -> tuple[Maps, npt.NDArray[np.bool_], Maps]:
    """Run the first half of upstream's decoder: enlarge the maps, smooth the heatmaps, find the maxima.

    Args:
        heatmaps: (height, width, 19) float32.
        pafs: (height, width, 38) float32.

    Returns:
        Smoothed heatmaps, mask of their maxima, and PAFs, all four times as high and wide.
    """
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
    """Run the second half of upstream's decoder: connect peaks along limbs and group them into people.

    Args:
        smooth: Smoothed heatmaps.
        maxima: Mask of their maxima.
        pafs: Enlarged PAFs.
        skeleton: Keypoints and limbs.

    Returns:
        For each person with at least three keypoints: index of the peak by keypoint.
    """
    peaks = [np.argwhere(maxima[:, :, keypoint]) for keypoint in range(len(skeleton.keypoints))]
    scores = [smooth[cells[:, 0], cells[:, 1], keypoint] for keypoint, cells in enumerate(peaks)]
    people: list[dict[int, Any]] = []
    for limb in skeleton.limbs:
        for p, q in _connect(peaks[limb.a], peaks[limb.b], scores, pafs, limb):
            owners = [person for person in people if person.get(limb.a) == p or person.get(limb.b) == q]
            if owners:
                owners[0].setdefault(limb.a, p)
                owners[0].setdefault(limb.b, q)
            else:
                people.append({limb.a: p, limb.b: q})
    return [person for person in people if len(person) >= 3]


def _connect(
    a: npt.NDArray[Any], b: npt.NDArray[Any], scores: list[Any], pafs: Maps, limb: Any
) -> list[tuple[int, int]]:
    if not len(a) or not len(b):
        return []
    step = np.linspace(0, 1, _SAMPLES)[None, None, :, None]
    vector = (b[None, :] - a[:, None]).astype(np.float32)
    length = np.maximum(1e-6, np.hypot(vector[..., 0], vector[..., 1]))
    cells = np.round(a[:, None, None] + step * vector[:, :, None]).astype(int)
    field_x, field_y = (pafs[cells[..., 0], cells[..., 1], channel] for channel in (limb.paf_x, limb.paf_y))
    agreement = (field_x * vector[..., 1, None] + field_y * vector[..., 0, None]) / length[..., None]
    passed = (agreement > 0.05).sum(axis=2)
    rank = agreement.mean(axis=2) + np.minimum(0.5 * pafs.shape[0] / length - 1, 0)
    rank += 0.1 * (scores[limb.a][:, None] + scores[limb.b][None])
    order = [divmod(int(i), len(b)) for i in np.argsort(-rank, axis=None)]
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    pairs = []
    for p, q in order:
        if passed[p, q] >= _MIN_SAMPLES and rank[p, q] > 0 and p not in taken_a and q not in taken_b:
            taken_a.add(p)
            taken_b.add(q)
            pairs.append((p, q))
    return pairs
