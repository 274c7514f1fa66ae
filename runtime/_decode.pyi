"""Types of the compiled kernel."""

from typing import Any

import numpy as np
import numpy.typing as npt

_Map = npt.NDArray[Any]
_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int32]

class Workspace:
    def __init__(
        self,
        limbs: _Ints,
        starts: npt.NDArray[np.uint8],
        peaks: _Floats,
        counts: _Ints,
        visited: _Ints,
        stack: _Ints,
        means: _Floats,
        ranks: _Floats,
        row_best: _Ints,
        pairs: _Ints,
        pair_scores: _Floats,
        pair_counts: _Ints,
        owner: _Ints,
        people: _Ints,
        limb_sums: _Floats,
        sizes: _Ints,
        keypoints: _Floats,
        scores: _Floats,
        order: _Ints,
    ) -> None: ...

def find_peaks(
    work: Workspace, heatmaps: _Map, scale: float, zero_point: float, threshold_raw: float, visit: int
) -> bool: ...
def connect(
    work: Workspace,
    pafs: _Map,
    scale: float,
    zero_point: float,
    threshold_raw: float,
    samples: int,
    needed: int,
    reach: float,
    penalty_from: float,
    peak_weight: float,
) -> bool: ...
def assemble(work: Workspace) -> int: ...
def collect(
    work: Workspace,
    used: int,
    min_keypoints: int,
    min_score: float,
    scale_x: float,
    scale_y: float,
    offset_x: float,
    offset_y: float,
) -> int: ...
