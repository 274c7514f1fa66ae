"""Maps painted from known people: what an ideal network would say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..skeleton import COCO18, Skeleton
from .body import Motion, keypoints

Maps = npt.NDArray[np.float32]


def fields(people: Maps, height: int, width: int, skeleton: Skeleton = COCO18, sigma: float = 1.0) -> tuple[Maps, Maps]:
    """Heatmaps (h, w, 19) and PAFs (h, w, 38) for `people` (n, 18, 2), x and y in grid cells from cell centers.

    A Gaussian of `sigma` cells a keypoint (the highest wins), a unit vector field one cell to each side of a limb. A
    keypoint that is NaN is not there.
    """
    y, x = np.mgrid[:height, :width].astype(np.float32)
    heatmaps = np.zeros((height, width, skeleton.heatmap_channels), np.float32)
    sums = np.zeros((height, width, skeleton.paf_channels), np.float32)
    counts = np.zeros((height, width, len(skeleton.limbs)), np.float32)
    for person in people:
        for part, (px, py) in enumerate(person):
            blob = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
            heatmaps[:, :, part] = np.fmax(heatmaps[:, :, part], blob)
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
        shared = np.maximum(counts[:, :, number], 1)
        pafs[:, :, limb.paf_x] = sums[:, :, limb.paf_x] / shared
        pafs[:, :, limb.paf_y] = sums[:, :, limb.paf_y] / shared
    heatmaps[:, :, -1] = 1 - heatmaps[:, :, :-1].max(axis=2)
    return heatmaps, pafs


def crowd(count: int, height: int, width: int, rng: np.random.Generator) -> Maps:
    """(count, 18, 2): people in separate slots of the grid, in grid cells."""
    rows = max(range(1, count + 1), key=lambda n: min(height / n, width / (-(-count // n)) / 0.8))
    columns = -(-count // rows)
    people = np.zeros((count, 18, 2), np.float32)
    for i in range(count):
        row, column = divmod(i, columns)
        slot_w, slot_h = width / columns, height / rows
        size = min(slot_h, slot_w / 0.8) * rng.uniform(0.85, 0.95)
        body = keypoints(Motion.random(rng), float(rng.uniform(0, 10)))
        people[i, :, 0] = (column + 0.5) * slot_w + body[:, 0] * size
        people[i, :, 1] = (row + 0.5) * slot_h + (0.5 - body[:, 1]) * size
    return people - 0.5
