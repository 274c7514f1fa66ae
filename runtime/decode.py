"""Decoder: heatmaps and PAFs into poses.

Implements the bottom-up parsing of Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields"
(2017), but without enlarging the maps: peaks are refined with a parabola in x and in y, which is as accurate and about
100 times faster. The steps are implemented in `_decode.pyx`; this module checks the maps and converts units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _decode
from .errors import ModelError
from .skeleton import COCO18, Skeleton
from .types import GridToFrame, Pose, PoseFields

_DTYPES = (np.float32, np.int8, np.uint8, np.int16)


@dataclass(frozen=True)
class DecoderOptions:
    """Thresholds of the decoder.

    The defaults were chosen on 153 images of COCO val2017 with two networks. AP depends little on them: it changes by
    less than 0.5 points for `paf_threshold` from 0 to 0.05 and for `min_samples` from 6 to 8. A `peak_threshold` of
    0.1 costs one to two points of AP and gives fewer false people.
    """

    peak_threshold: float = 0.05
    """Minimum height of a heatmap peak."""
    paf_threshold: float = 0.02
    """Minimum agreement of a PAF sample with the direction of the limb; 1 if a unit vector points along the limb."""
    samples: int = 8
    """PAF samples per limb, both ends included."""
    min_samples: int = 7
    """Minimum number of samples above `paf_threshold`."""
    max_limb_length: float = 0.7
    """Maximum length of a limb, as a fraction of the longer side of the grid."""
    length_penalty_start: float = 0.5
    """Limbs longer than this fraction of the grid's height get a lower rank (tf-pose-estimation's rule)."""
    peak_weight: float = 0.05
    """Weight of the scores of both peaks in the rank of a limb."""
    min_keypoints: int = 3
    """Minimum number of keypoints of a person."""
    min_score: float = 0.0
    """Minimum pose score of a person."""
    max_peaks: int = 100
    """Maximum number of peaks per keypoint; the highest are kept. This limits time and memory for any input."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_samples <= self.samples or self.samples < 2:
            raise ValueError(f"expected 2 <= samples and 1 <= min_samples <= samples, got {self}")
        if self.max_peaks < 1 or self.min_keypoints < 2:
            raise ValueError(f"expected max_peaks >= 1 and min_keypoints >= 2, got {self}")


class Decoder:
    """Decoder for maps of one size. Not thread-safe; several decoders can run in parallel.

    Args:
        height: Rows of the maps.
        width: Columns of the maps.
        skeleton: Keypoints and limbs that the channels of the maps stand for.
        options: Thresholds; default: `DecoderOptions()`.

    Raises:
        ValueError: `height` or `width` is less than 1.
    """

    def __init__(
        self, height: int, width: int, skeleton: Skeleton = COCO18, options: DecoderOptions | None = None
    ) -> None:
        if height < 1 or width < 1:
            raise ValueError(f"expected maps of at least 1x1 cells, got height {height} and width {width}")
        self.height, self.width, self.skeleton = height, width, skeleton
        self.options = options = options or DecoderOptions()
        self._checked_layouts: tuple[object, ...] = ()
        self._workspace = _decode.Workspace(
            height,
            width,
            keypoint_count=len(skeleton.keypoints),
            max_peaks=options.max_peaks,
            limbs=[limb[:4] for limb in skeleton.limbs],
            can_seed=[limb.can_seed for limb in skeleton.limbs],
        )
        # The kernel writes its results here.
        self._keypoints, self._scores = np.asarray(self._workspace.keypoints), np.asarray(self._workspace.scores)

    def decode(self, fields: PoseFields, to_frame: GridToFrame) -> tuple[Pose, ...]:
        """Decode heatmaps and PAFs into poses.

        Args:
            fields: Heatmaps (height, width, keypoints + 1) and PAFs (height, width, 2 * limbs), each float32, int8,
                uint8 or int16. The channels of a cell must be contiguous in memory.
            to_frame: Where the cells of the maps are in the frame.

        Returns:
            Poses in frame pixels, highest score first.

        Raises:
            ValueError: The maps have another shape, dtype or memory layout.
            ModelError: The maps contain NaN or infinity.
        """
        self._check(fields)
        options = self.options
        scale, zero_point = fields.heatmap_quantization
        min_stored = options.peak_threshold / scale + zero_point
        finite = _decode.find_peaks(self._workspace, fields.heatmaps, scale, zero_point, min_stored)
        scale, zero_point = fields.paf_quantization
        finite = finite and _decode.connect(
            self._workspace, fields.pafs, scale, zero_point, options.paf_threshold / scale, options.samples,
            options.min_samples, options.max_limb_length * max(self.height, self.width),
            options.length_penalty_start * self.height, options.peak_weight,
        )  # fmt: skip
        if not finite:
            raise ModelError("the network returned NaN or infinity: the model is damaged or was converted wrongly")
        rows = _decode.assemble(self._workspace)
        count = _decode.collect(self._workspace, rows, options.min_keypoints, options.min_score, *to_frame)
        poses = zip(self._keypoints[:count].copy(), self._scores[:count].tolist(), strict=True)
        return tuple(Pose(keypoints, score, 0, self.skeleton) for keypoints, score in poses)

    def _check(self, fields: PoseFields) -> None:
        layouts = tuple((values.shape, values.strides, values.dtype) for values in (fields.heatmaps, fields.pafs))
        if layouts == self._checked_layouts:
            return
        channels = self.skeleton.heatmap_channels, self.skeleton.paf_channels
        for name, (shape, strides, dtype), count in zip(("heatmaps", "PAFs"), layouts, channels, strict=True):
            if shape != (self.height, self.width, count):
                raise ValueError(f"expected {name} of shape {(self.height, self.width, count)}, got {shape}")
            if dtype not in _DTYPES:
                raise ValueError(f"expected {name} of dtype float32, int8, uint8 or int16, got {dtype}")
            if strides[2] != dtype.itemsize or strides[0] % dtype.itemsize or strides[1] % dtype.itemsize:
                raise ValueError(f"expected {name} with contiguous channels, got strides {strides} for {dtype}")
        self._checked_layouts = layouts
