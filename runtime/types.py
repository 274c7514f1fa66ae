"""The values that travel from frame to pose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

ChannelOrder = Literal["bgr", "rgb"]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """An image and when it was taken.

    `image`: (H, W, 3) uint8 in `channel_order`. `timestamp_ns`: monotonic clock at exposure; for a file, its time in
    the video or 0. `index`: counts the frames of `source` from 0. `captured_ns`: monotonic clock at exposure, or when
    the frame was read from a file; 0 if unknown. Latency and wall-clock time are computed from it.
    """

    image: Image
    source: str
    index: int = 0
    timestamp_ns: int = 0
    channel_order: ChannelOrder = "bgr"
    captured_ns: int = 0


class Quantisation(NamedTuple):
    """real = scale * (stored - zero_point); (1, 0) for float tensors."""

    scale: float = 1.0
    zero_point: int = 0


class PoseFields(NamedTuple):
    """A network's maps as the interpreter returned them: float32, int8, uint8 or int16.

    `heatmaps`: (h, w, 19), `pafs`: (h, w, 38); both may be views of one tensor. Valid until the next inference.
    """

    heatmaps: npt.NDArray[Any]
    pafs: npt.NDArray[Any]
    heatmap_quantisation: Quantisation = Quantisation()
    paf_quantisation: Quantisation = Quantisation()


class GridToFrame(NamedTuple):
    """x_frame = scale_x * (x_grid + 0.5) + offset_x, the same for y: cells and pixels are measured at their centres."""

    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0


class Box(NamedTuple):
    """A rectangle in frame pixels."""

    x: float
    y: float
    width: float
    height: float


class Pose(NamedTuple):
    """One person.

    `keypoints`: (18, 3) float32: x, y in pixels of the frame, score; all zero where absent. The score of a keypoint
    is the height of its heatmap peak (about 0 to 1), the `score` of the pose the mean PAF agreement over all limbs.
    """

    keypoints: npt.NDArray[np.float32]
    score: float
    person: int = 0
    """Who it is across frames, from 1; 0 where nobody keeps track."""

    @property
    def bbox(self) -> Box:
        """The smallest box around the keypoints that are present."""
        present = self.keypoints[self.keypoints[:, 2] > 0, :2]
        (x, y), (right, bottom) = present.min(axis=0), present.max(axis=0)
        return Box(float(x), float(y), float(right - x), float(bottom - y))


class Timings(NamedTuple):
    """Milliseconds spent in each stage of one frame."""

    preprocess: float
    inference: float
    decode: float

    @property
    def total(self) -> float:
        """Sum of the stages."""
        return self.preprocess + self.inference + self.decode


@dataclass(frozen=True)
class Estimate:
    """The people of one frame, best first, and what finding them cost. Iterates over the poses."""

    poses: tuple[Pose, ...]
    timings_ms: Timings

    def __iter__(self) -> Iterator[Pose]:
        return iter(self.poses)

    def __len__(self) -> int:
        return len(self.poses)
