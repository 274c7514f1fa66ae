"""Ideal heatmaps and PAFs, rendered from known keypoints: the output of a perfect network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..skeleton import COCO18, Skeleton
from .body import Motion, compute_keypoints
from .keypoints import derive_keypoints

Maps = npt.NDArray[np.float32]


def render_fields(
    people: Maps, height: int, width: int, skeleton: Skeleton = COCO18, sigma: float = 1.0
) -> tuple[Maps, Maps]:
    """Render heatmaps and PAFs from keypoints.

    A heatmap has a Gaussian at each keypoint; where Gaussians overlap, the maximum is taken. A PAF has unit vectors up
    to one cell to each side of a limb and beyond its ends; where limbs overlap, the mean is taken.

    Args:
        people: (n, keypoints, 2): x, y in grid cells, measured from the center of the first cell. NaN if the keypoint
            is absent.
        height: Rows of the maps.
        width: Columns of the maps.
        skeleton: Keypoints and limbs.
        sigma: Standard deviation of the Gaussians in cells.

    Returns:
        Heatmaps (height, width, keypoints), with the background as one more channel if the skeleton has it, and PAFs
        (height, width, 2 * limbs).
    """
    y, x = np.mgrid[:height, :width].astype(np.float32)
    heatmaps = np.zeros((height, width, skeleton.heatmap_channels), np.float32)
    sums = np.zeros((height, width, skeleton.paf_channels), np.float32)
    counts = np.zeros((height, width, len(skeleton.limbs)), np.float32)
    for person in people:
        for keypoint, (px, py) in enumerate(person):
            gaussian = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
            heatmaps[:, :, keypoint] = np.fmax(heatmaps[:, :, keypoint], gaussian)
        for number, limb in enumerate(skeleton.limbs):
            a, b = person[limb.a], person[limb.b]
            if np.isnan(a + b).any():
                continue
            length = max(1e-3, float(np.hypot(*(b - a))))
            ux, uy = (b - a) / length
            along = (x - a[0]) * ux + (y - a[1]) * uy
            across = np.abs((x - a[0]) * uy - (y - a[1]) * ux)
            inside = (along >= -1) & (along <= length + 1) & (across <= 1)
            sums[:, :, limb.paf_x] += inside * ux
            sums[:, :, limb.paf_y] += inside * uy
            counts[:, :, number] += inside
    pafs = np.zeros_like(sums)
    for number, limb in enumerate(skeleton.limbs):
        overlap = np.maximum(counts[:, :, number], 1)
        pafs[:, :, limb.paf_x] = sums[:, :, limb.paf_x] / overlap
        pafs[:, :, limb.paf_y] = sums[:, :, limb.paf_y] / overlap
    if skeleton.background:
        heatmaps[:, :, -1] = 1 - heatmaps[:, :, :-1].max(axis=2)
    return heatmaps, pafs


def place_people(count: int, height: int, width: int, rng: np.random.Generator, skeleton: Skeleton = COCO18) -> Maps:
    """Place random people side by side, so that they do not overlap.

    Returns:
        (count, keypoints, 2): x, y in grid cells, measured from the center of the first cell.
    """
    rows = max(range(1, count + 1), key=lambda n: min(height / n, width / (-(-count // n)) / 0.8))
    columns = -(-count // rows)
    people = np.zeros((count, 18, 2), np.float32)
    for i in range(count):
        row, column = divmod(i, columns)
        slot_w, slot_h = width / columns, height / rows
        size = min(slot_h, slot_w / 0.8) * rng.uniform(0.85, 0.95)
        body = compute_keypoints(Motion.create_random(rng), float(rng.uniform(0, 10)))
        people[i, :, 0] = (column + 0.5) * slot_w + body[:, 0] * size
        people[i, :, 1] = (row + 0.5) * slot_h + (0.5 - body[:, 1]) * size
    return (people if skeleton == COCO18 else derive_keypoints(people, skeleton)) - 0.5
