"""Maps averaged over several passes: the image and its mirror image, at several input sizes.

This is test-time augmentation, as with OpenPose's `--scale_number` and Ultralytics' `augment=True`. Each pass is one
inference. The maps of all passes are resampled to the grid of the first pass, averaged, and decoded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from .map_inference import MapInference
from .skeleton import Skeleton
from .types import ChannelOrder, Image, PoseFields, Quantization

MIN_SCALE, MAX_SCALE, MAX_SCALES = 0.25, 4.0, 8
_SIZE_MULTIPLE_PX = 16
"""Networks with a stride of 16 inside need input sides that are multiples of it."""

Floats = npt.NDArray[np.float32]


class MapAverager:
    """Average of the maps of several passes. Not thread-safe."""

    def __init__(self, sizes: Sequence[MapInference], *, mirror: bool) -> None:
        """Prepare the passes.

        Args:
            sizes: The network at one or more input sizes; the maps have the grid of the first one.
            mirror: Also run the mirror image at each size.

        Raises:
            ValueError: The skeleton has a limb without a counterpart on the other side, so it cannot be mirrored.
        """
        self._sizes, self._mirror = tuple(sizes), mirror
        skeleton = sizes[0].manifest.skeleton_table
        self._mirror_channels = _compute_mirror_channels(skeleton) if mirror else None

    @property
    def passes(self) -> int:
        """Number of inferences per image."""
        return len(self._sizes) * (2 if self._mirror else 1)

    def infer(self, image: Image, channel_order: ChannelOrder = "bgr") -> PoseFields:
        """Run all passes on an image.

        Args:
            image: Array (H, W, 3), gray (H, W), or with alpha (H, W, 4), all uint8.
            channel_order: `bgr` or `rgb`.

        Returns:
            The averaged maps, float32, on the grid of the first input size.
        """
        fields = list(self._run_passes(image, channel_order))
        count = np.float32(len(fields))
        heatmaps, pafs = (np.add.reduce([field[part] for field in fields]) / count for part in (0, 1))
        return PoseFields(heatmaps, pafs)

    def _run_passes(self, image: Image, channel_order: ChannelOrder) -> Iterator[tuple[Floats, Floats]]:
        first = self._sizes[0]
        target, grid = first.compute_grid_to_frame(image), first.manifest.grid
        width = image.shape[1]
        for size in self._sizes:
            source = size.compute_grid_to_frame(image)
            rows = make_resampling(grid[0], target[1::2], size.manifest.grid[0], source[1::2])
            columns = make_resampling(grid[1], target[::2], size.manifest.grid[1], source[::2])
            yield _resample(size.infer(image, channel_order), rows, columns)
            if self._mirror_channels is not None:
                # x in the mirror image is the width minus x.
                mirrored = (-source.scale_x, width - source.offset_x)
                columns = make_resampling(grid[1], target[::2], size.manifest.grid[1], mirrored)
                heatmaps, pafs = _resample(
                    size.infer(np.asarray(cv2.flip(image, 1), np.uint8), channel_order), rows, columns
                )
                heatmap_order, paf_order, paf_sign = self._mirror_channels
                yield heatmaps[..., heatmap_order], pafs[..., paf_order] * paf_sign


def check_scales(scales: Sequence[float]) -> Sequence[float]:
    """Return the scales.

    Raises:
        ValueError: There are too many, or one is out of range.
    """
    if not 1 <= len(scales) <= MAX_SCALES or not all(MIN_SCALE <= scale <= MAX_SCALE for scale in scales):
        got = ", ".join(f"{scale:g}" for scale in scales)
        raise ValueError(f"scales: expected 1 to {MAX_SCALES} factors from {MIN_SCALE:g} to {MAX_SCALE:g}, got {got}")
    return scales


def make_scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Return the input size nearest to `scale` times a size, in multiples of 16 pixels."""
    width, height = (max(1, round(side * scale / _SIZE_MULTIPLE_PX)) * _SIZE_MULTIPLE_PX for side in (width, height))
    return width, height


@lru_cache(maxsize=64)
def make_resampling(
    target_cells: int, target: tuple[float, float], source_cells: int, source: tuple[float, float]
) -> Floats:
    """Make the matrix that resamples one axis of a map with cubic interpolation.

    Args:
        target_cells: Cells of the result.
        target: Scale and offset from its cells to the frame, as in `GridToFrame`.
        source_cells: Cells of the map.
        source: Scale and offset from its cells to the frame; a negative scale mirrors.

    Returns:
        (target_cells, source_cells) float32; cells outside of the map are zero.
    """
    frame = target[0] * (np.arange(target_cells) + 0.5) + target[1]
    position = (frame - source[1]) / source[0] - 0.5
    matrix = np.zeros((target_cells, source_cells))
    for row, x in enumerate(position):
        if not -0.5 <= x <= source_cells - 0.5:
            continue
        start = int(np.floor(x)) - 1
        for cell in range(start, start + 4):
            matrix[row, min(max(cell, 0), source_cells - 1)] += _compute_cubic_weight(abs(x - cell))
    return np.asarray(matrix, np.float32)


def _compute_cubic_weight(distance: float) -> float:
    """Return the weight of Keys' cubic convolution with a = -0.5, "Cubic convolution interpolation" (1981)."""
    if distance < 1:
        return (1.5 * distance - 2.5) * distance**2 + 1
    return ((-0.5 * distance + 2.5) * distance - 4) * distance + 2 if distance < 2 else 0.0


def _resample(fields: PoseFields, rows: Floats, columns: Floats) -> tuple[Floats, Floats]:
    heatmaps = _resample_map(fields.heatmaps, fields.heatmap_quantization, rows, columns)
    return heatmaps, _resample_map(fields.pafs, fields.paf_quantization, rows, columns)


def _resample_map(stored: npt.NDArray[np.generic], quantization: Quantization, rows: Floats, columns: Floats) -> Floats:
    values = quantization.dequantize(stored)
    height, width, channels = values.shape
    by_row = (rows @ values.reshape(height, width * channels)).reshape(len(rows), width, channels)
    return np.asarray(columns @ by_row, np.float32)


def _compute_mirror_channels(skeleton: Skeleton) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """Return the order of heatmap channels, the order of PAF channels and their signs in the mirror image."""
    mirror = skeleton.mirror_order
    heatmap_order = [*mirror, *range(len(mirror), skeleton.heatmap_channels)]
    paf_order, paf_sign = np.arange(skeleton.paf_channels), np.ones(skeleton.paf_channels, np.float32)
    by_ends = {(limb.a, limb.b): limb for limb in skeleton.limbs}
    for limb in skeleton.limbs:
        ends = mirror[limb.a], mirror[limb.b]
        other, sign = by_ends.get(ends), 1.0
        if other is None:
            other, sign = by_ends.get((ends[1], ends[0])), -1.0
        if other is None:
            names = " to ".join(skeleton.keypoints[end] for end in ends)
            raise ValueError(f"skeleton {skeleton.name!r} cannot be mirrored: it has no limb {names}")
        paf_order[[limb.paf_x, limb.paf_y]] = other.paf_x, other.paf_y
        paf_sign[[limb.paf_x, limb.paf_y]] = -sign, sign
    return np.array(heatmap_order), paf_order, paf_sign
