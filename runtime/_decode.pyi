"""Types of the compiled decoder kernel. The functions are documented in `_decode.pyx`."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

_Map = npt.NDArray[Any]

class Workspace:
    def __init__(
        self,
        height: int,
        width: int,
        keypoint_count: int,
        max_peaks: int,
        limbs: Sequence[tuple[int, ...]],
        can_seed: Sequence[bool],
    ) -> None: ...
    @property
    def keypoints(self) -> memoryview: ...
    @property
    def scores(self) -> memoryview: ...

def find_peaks(work: Workspace, heatmaps: _Map, scale: float, zero_point: float, min_stored: float) -> bool: ...
def connect(
    work: Workspace,
    pafs: _Map,
    scale: float,
    zero_point: float,
    min_agreement: float,
    samples: int,
    min_samples: int,
    max_limb_length: float,
    length_penalty_start: float,
    peak_weight: float,
) -> bool: ...
def assemble(work: Workspace) -> int: ...
def collect(
    work: Workspace,
    rows: int,
    min_keypoints: int,
    min_score: float,
    scale_x: float,
    scale_y: float,
    offset_x: float,
    offset_y: float,
) -> int: ...
