"""Reference implementation of the decoder in plain NumPy and Python.

It is slow and simple. The Cython kernel is tested against it. Each of the three functions of the kernel has one
function here that works on float values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgepose.runtime.decode import DecoderOptions
from edgepose.runtime.skeleton import Skeleton

Maps = npt.NDArray[np.float32]


class ReferencePeak(NamedTuple):
    x: float
    y: float
    score: float


class ReferencePair(NamedTuple):
    p: int
    q: int
    score: float


def fit_parabola(before: float, here: float, after: float) -> float:
    curvature = before - 2 * here + after
    if curvature > -1e-6:
        return 0.0
    return float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))


def find_peaks(heatmap: Maps, threshold: float) -> list[ReferencePeak]:
    """Find the peaks of one heatmap (h, w), in raster order of their first cell."""
    height, width = heatmap.shape
    seen = np.zeros(heatmap.shape, bool)
    peaks = []
    for y in range(height):
        for x in range(width):
            value = heatmap[y, x]
            # Single precision as in the kernel. NumPy 1 would compare with a Python float in double precision.
            if not value > np.float32(threshold) or seen[y, x]:
                continue
            plateau, is_peak = _plateau(heatmap, y, x)
            for cell in plateau:
                seen[cell] = True
            if not is_peak:
                continue
            if len(plateau) > 1:
                middle = np.mean(plateau, axis=0)
                peaks.append(ReferencePeak(float(middle[1]), float(middle[0]), float(value)))
                continue
            dx = fit_parabola(*heatmap[y, x - 1 : x + 2].tolist()) if 0 < x < width - 1 else 0.0
            dy = fit_parabola(*heatmap[y - 1 : y + 2, x].tolist()) if 0 < y < height - 1 else 0.0
            peaks.append(ReferencePeak(x + dx, y + dy, float(value)))
    return peaks


def _plateau(heatmap: Maps, y: int, x: int) -> tuple[list[tuple[int, int]], bool]:
    """Return all cells connected to (y, x) with the same value, and True if no neighbor of them is higher."""
    height, width = heatmap.shape
    value, cells, open_cells, is_peak = heatmap[y, x], {(y, x)}, [(y, x)], True
    while open_cells:
        j, i = open_cells.pop()
        for v in range(max(j - 1, 0), min(j + 2, height)):
            for u in range(max(i - 1, 0), min(i + 2, width)):
                if heatmap[v, u] > value:
                    is_peak = False
                elif heatmap[v, u] == value and (v, u) not in cells:
                    cells.add((v, u))
                    open_cells.append((v, u))
    return sorted(cells), is_peak


def sample_bilinear(plane: Maps, x: float, y: float) -> float:
    height, width = plane.shape
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    i, j = int(x), int(y)
    u, v = x - i, y - j
    right, below = min(i + 1, width - 1), min(j + 1, height - 1)
    top = plane[j, i] * (1 - u) + plane[j, right] * u
    bottom = plane[below, i] * (1 - u) + plane[below, right] * u
    return float(top * (1 - v) + bottom * v)


def score_limb(paf_x: Maps, paf_y: Maps, a: ReferencePeak, b: ReferencePeak, options: DecoderOptions) -> float:
    """Return the mean agreement over the samples that pass, or 0 if too few pass."""
    dx, dy = b.x - a.x, b.y - a.y
    length = float(np.hypot(dx, dy))
    agreements = []
    for t in np.linspace(0, 1, options.samples):
        x, y = a.x + t * dx, a.y + t * dy
        agreements.append((sample_bilinear(paf_x, x, y) * dx + sample_bilinear(paf_y, x, y) * dy) / length)
    passed = [value for value in agreements if value > options.paf_threshold]
    return float(np.mean(passed)) if len(passed) >= options.min_samples else 0.0


def connect(
    paf_x: Maps,
    paf_y: Maps,
    peaks_a: Sequence[ReferencePeak],
    peaks_b: Sequence[ReferencePeak],
    options: DecoderOptions,
) -> list[ReferencePair]:
    """Pair the peaks of one limb: go through the sorted list of candidates, best first."""
    height, width = paf_x.shape
    candidates = []
    for p, a in enumerate(peaks_a):
        for q, b in enumerate(peaks_b):
            # Single precision as in the kernel, because peaks at simple fractions are exactly on these limits.
            length = float(np.hypot(np.float32(b.x) - np.float32(a.x), np.float32(b.y) - np.float32(a.y)))
            if not np.float32(0.1) <= length <= np.float32(options.max_limb_length * max(height, width)):
                continue
            mean = score_limb(paf_x, paf_y, a, b, options)
            rank = mean + min(options.length_penalty_start * height / length - 1, 0.0)
            if mean > 0 and rank > 0:
                candidates.append((-(rank + options.peak_weight * (a.score + b.score)), p, q, mean))
    pairs: list[ReferencePair] = []
    for _, p, q, mean in sorted(candidates):
        if all(p != pair.p and q != pair.q for pair in pairs):
            pairs.append(ReferencePair(p, q, mean))
    return pairs


class ReferencePerson:
    def __init__(self, parts: dict[int, int], limbs: float) -> None:
        self.parts, self.limbs = parts, limbs


def assemble(skeleton: Skeleton, pairs: Sequence[Sequence[ReferencePair]]) -> list[ReferencePerson]:
    """Assemble people from the pairs of all limbs."""
    people: list[ReferencePerson] = []
    for limb, found in zip(skeleton.limbs, pairs, strict=True):
        for pair in found:
            one = next((x for x in people if x.parts.get(limb.a) == pair.p), None)
            two = next((x for x in people if x.parts.get(limb.b) == pair.q), None)
            if one is None and two is None:
                if limb.can_seed:
                    people.append(ReferencePerson({limb.a: pair.p, limb.b: pair.q}, pair.score))
            elif one is two and one is not None:
                one.limbs += pair.score
            elif one is not None and two is not None:
                if not one.parts.keys() & two.parts.keys():
                    one.parts.update(two.parts)
                    one.limbs += two.limbs + pair.score
                    people.remove(two)
            elif one is not None and limb.b not in one.parts:
                one.parts[limb.b] = pair.q
                one.limbs += pair.score
            elif two is not None and limb.a not in two.parts:
                two.parts[limb.a] = pair.p
                two.limbs += pair.score
    return people


def decode(heatmaps: Maps, pafs: Maps, skeleton: Skeleton, options: DecoderOptions) -> list[tuple[float, Maps]]:
    """Return (score, keypoints) of every person, best first.

    The keypoints (18, 3) are in grid cells, relative to the center of the first cell.
    """
    parts = range(len(skeleton.keypoints))
    peaks = [find_peaks(heatmaps[:, :, part], options.peak_threshold) for part in parts]
    pairs = [
        connect(pafs[:, :, limb.paf_x], pafs[:, :, limb.paf_y], peaks[limb.a], peaks[limb.b], options)
        for limb in skeleton.limbs
    ]
    poses = []
    for person in assemble(skeleton, pairs):
        if len(person.parts) >= options.min_keypoints:
            keypoints = np.zeros((len(skeleton.keypoints), 3), np.float32)
            for part, index in person.parts.items():
                keypoints[part] = peaks[part][index]
            poses.append((person.limbs / len(skeleton.limbs), keypoints))
    return sorted(poses, key=lambda pose: -pose[0])
