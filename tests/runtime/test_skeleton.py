"""Skeletons with invalid indices are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgepose.runtime import Decoder, DecoderOptions, GridToFrame, Limb, PoseFields, Skeleton
from edgepose.runtime.types import Quantization


@pytest.mark.parametrize(
    ("limb", "message"),
    [
        ((0, 9, 0, 1), r"limbs\[0\].b"),
        ((-1, 1, 0, 1), r"limbs\[0\].a"),
        ((1, 1, 0, 1), "two different keypoints"),
        ((0, 1, 0, 2), r"limbs\[0\].paf_y"),
        ((0, 1, -3, 1), r"limbs\[0\].paf_x"),
        ((0, 1, 1 << 40, 1), r"limbs\[0\].paf_x"),
        ((0, True, 0, 1), r"limbs\[0\].b"),
    ],
)
def test_indices_out_of_range_are_named(limb: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Skeleton("bad", ("a", "b"), (Limb(*limb),), ())


def test_limbs_twice_and_wrong_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="same keypoints"):
        Skeleton("bad", ("a", "b"), (Limb(0, 1, 0, 1), Limb(1, 0, 2, 3)), ())
    with pytest.raises(ValueError, match="coco_order"):
        Skeleton("bad", ("a", "b"), (Limb(0, 1, 0, 1),), (2,))


def test_the_center_of_a_large_plateau_is_exact() -> None:
    """The sums of coordinates are larger than the exact integer range of float32."""
    height, width = 2000, 8192
    skeleton = Skeleton("pair", ("a", "b"), (Limb(0, 1, 0, 1),), ())
    heatmaps = np.zeros((height, width, 3), np.int8)
    heatmaps[:, 6008:8192, 0] = 100
    heatmaps[999, 7105, 1] = 100
    pafs = np.zeros((height, width, 2), np.int8)
    pafs[990:1010, 7090:7115, 0] = 100
    scale = Quantization(0.01, 0)
    decoder = Decoder(height, width, skeleton, DecoderOptions(min_keypoints=2))
    [pose] = decoder.decode(PoseFields(heatmaps, pafs, scale, scale), GridToFrame(1.0, 1.0, -0.5, -0.5))
    assert pose.keypoints[0, :2].tolist() == [7099.5, 999.5]
