"""From heatmaps and PAFs to people, on the coarse maps as they are.

The bottom-up parsing of Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields" (2017),
without its enlargement of the maps: peaks are refined by a parabola in x and in y, which is as accurate and some
hundred times cheaper. The three steps are in `_decode.pyx`; this module owns their memory and their units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _decode
from .errors import ModelError
from .skeleton import COCO18, Skeleton
from .types import GridToFrame, Pose, PoseFields

_DTYPES = (np.float32, np.int8, np.uint8, np.int16)
_LAST_VISIT = 2**31 - 1


@dataclass(frozen=True)
class DecoderOptions:
    """Thresholds of the parser.

    Chosen on 153 images of COCO val2017 with two networks. AP hardly depends on them: it stays within half a point
    for `paf_threshold` 0 to 0.05 and for 6 to 8 samples needed; `peak_threshold` 0.1 costs one to two points and
    leaves fewer ghosts.
    """

    peak_threshold: float = 0.05
    """Least height of a heatmap peak."""
    paf_threshold: float = 0.02
    """Least agreement of a sample of the PAF with the direction of the limb (a full vector is 1)."""
    samples: int = 8
    """PAF samples a limb, from end to end."""
    samples_needed: int = 7
    """How many of them must agree."""
    reach: float = 0.7
    """Longest limb, as a share of the longer side of the grid."""
    penalty_from: float = 0.5
    """Limbs longer than this share of the grid's height lose rank (upstream's rule)."""
    peak_weight: float = 0.05
    """How much the two peaks' heights count when limbs compete."""
    min_keypoints: int = 3
    """People with fewer are dropped."""
    min_score: float = 0.0
    """People with a lower pose score are dropped."""
    max_peaks: int = 100
    """Peaks kept a part, the highest; bounds time and memory whatever the maps hold."""

    def __post_init__(self) -> None:
        if not 1 <= self.samples_needed <= self.samples or self.samples < 2:
            raise ValueError(f"expected 2 <= samples and 1 <= samples_needed <= samples, got {self}")
        if self.max_peaks < 1 or self.min_keypoints < 2:
            raise ValueError(f"expected max_peaks >= 1 and min_keypoints >= 2, got {self}")


class Decoder:
    """Decodes maps of one size. Not for use by two threads at once; any number of decoders may run side by side."""

    def __init__(
        self, height: int, width: int, skeleton: Skeleton = COCO18, options: DecoderOptions | None = None
    ) -> None:
        if height < 1 or width < 1:
            raise ValueError(f"expected a grid of at least one cell, got {height} x {width}")
        self.height, self.width, self.skeleton = height, width, skeleton
        self.options = options = options or DecoderOptions()
        parts, limbs, most = len(skeleton.keypoints), len(skeleton.limbs), options.max_peaks
        # A new person takes two peaks that nobody owns, so there are never more than this.
        people = parts * most // 2
        self._visited = np.zeros((height, width, parts), np.int32)
        self._visit = 0
        self._keypoints = np.zeros((people, parts, 3), np.float32)
        self._scores = np.zeros(people, np.float32)
        self._checked: tuple[object, ...] = ()
        self._work = _decode.Workspace(
            limbs=np.array([limb[:4] for limb in skeleton.limbs], np.int32),
            starts=np.array([limb.starts for limb in skeleton.limbs], np.uint8),
            peaks=np.zeros((parts, most, 3), np.float32),
            counts=np.zeros(parts, np.int32),
            visited=self._visited,
            stack=np.zeros(height * width, np.int32),
            means=np.zeros((most, most), np.float32),
            ranks=np.zeros((most, most), np.float32),
            row_best=np.zeros(most, np.int32),
            pairs=np.zeros((limbs, most, 2), np.int32),
            pair_scores=np.zeros((limbs, most), np.float32),
            pair_counts=np.zeros(limbs, np.int32),
            owner=np.zeros((parts, most), np.int32),
            people=np.zeros((people, parts), np.int32),
            limb_sums=np.zeros(people, np.float32),
            sizes=np.zeros(people, np.int32),
            keypoints=self._keypoints,
            scores=self._scores,
            order=np.zeros(people, np.int32),
        )

    def decode(self, fields: PoseFields, to_frame: GridToFrame) -> tuple[Pose, ...]:
        """The people in the maps, best first, in pixels of the frame.

        Raises ValueError for maps of another shape or type, ModelError for maps that hold NaN or infinity.
        """
        self._check(fields)
        options = self.options
        scale, zero_point = fields.heatmap_quantization
        self._visit += 1
        if self._visit == _LAST_VISIT:
            self._visited[:] = 0
            self._visit = 1
        threshold = options.peak_threshold / scale + zero_point
        finite = _decode.find_peaks(self._work, fields.heatmaps, scale, zero_point, threshold, self._visit)
        scale, zero_point = fields.paf_quantization
        finite = finite and _decode.connect(
            self._work, fields.pafs, scale, zero_point, options.paf_threshold / scale, options.samples,
            options.samples_needed, options.reach * max(self.height, self.width), options.penalty_from * self.height,
            options.peak_weight,
        )  # fmt: skip
        if not finite:
            raise ModelError("the model's maps hold NaN or infinity: the model is damaged or was converted wrongly")
        used = _decode.assemble(self._work)
        kept = _decode.collect(self._work, used, options.min_keypoints, options.min_score, *to_frame)
        people = zip(self._keypoints[:kept].copy(), self._scores[:kept].tolist(), strict=True)
        return tuple(Pose(keypoints, score, 0, self.skeleton) for keypoints, score in people)

    def _check(self, fields: PoseFields) -> None:
        kind = tuple((values.shape, values.strides, values.dtype) for values in (fields.heatmaps, fields.pafs))
        if kind == self._checked:
            return
        channels = self.skeleton.heatmap_channels, self.skeleton.paf_channels
        for (shape, strides, dtype), count in zip(kind, channels, strict=True):
            if shape != (self.height, self.width, count):
                raise ValueError(f"expected maps {(self.height, self.width, count)}, got {shape}")
            if dtype not in _DTYPES:
                raise ValueError(f"expected maps of float32, int8, uint8 or int16, got {dtype}")
            if strides[2] != dtype.itemsize or strides[0] % dtype.itemsize or strides[1] % dtype.itemsize:
                raise ValueError("expected maps whose channels lie side by side in memory")
        self._checked = kind
