"""Types of the compiled kernel."""

from typing import Any

import numpy as np
import numpy.typing as npt

_Map = npt.NDArray[Any]
_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int32]

def find_peaks(
    heatmaps: _Map,
    scale: float,
    zero_point: float,
    threshold_raw: float,
    peaks: _Floats,
    counts: _Ints,
    visited: _Ints,
    visit: int,
    stack: _Ints,
) -> bool: ...
def connect(
    pafs: _Map,
    scale: float,
    zero_point: float,
    threshold_raw: float,
    samples: int,
    needed: int,
    reach: float,
    penalty_from: float,
    peak_weight: float,
    peaks: _Floats,
    counts: _Ints,
    limbs: _Ints,
    means: _Floats,
    ranks: _Floats,
    row_best: _Ints,
    pairs: _Ints,
    pair_scores: _Floats,
    pair_counts: _Ints,
) -> bool: ...
def assemble(
    limbs: _Ints,
    starts: npt.NDArray[np.uint8],
    pairs: _Ints,
    pair_scores: _Floats,
    pair_counts: _Ints,
    owner: _Ints,
    people: _Ints,
    limb_sums: _Floats,
    sizes: _Ints,
) -> int: ...
def collect(
    people: _Ints,
    limb_sums: _Floats,
    sizes: _Ints,
    used: int,
    peaks: _Floats,
    limb_count: int,
    min_keypoints: int,
    min_score: float,
    scale_x: float,
    scale_y: float,
    offset_x: float,
    offset_y: float,
    keypoints: _Floats,
    scores: _Floats,
    order: _Ints,
) -> int: ...
