"""The two ways in which upstream names and builds the stages that turn features into maps.

Stage 1 sees the features; every later one the maps of the one before and the features. L1 is the branch of the
PAFs, L2 that of the heatmaps (Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, 2017).
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir.output_heads import HEATMAPS, PAFS
from .builder import Builder

BRANCHES = {"L1": PAFS, "L2": HEATMAPS}

Layer = Callable[[str, str, int, int], str]
"""Scope, source, channels, kernel: adds a layer and gives the name of its result."""


def cpm_stages(b: Builder, features: str, layer: Layer, stages: int = 6) -> tuple[str, str]:
    """Stages as in `cmu`: three, then five layers and two 1x1 convolutions. Gives heatmaps and PAFs."""
    maps: dict[str, str] = {}
    for branch, channels in BRANCHES.items():
        x = features
        for number in (1, 2, 3):
            x = layer(f"conv5_{number}_CPM_{branch}", x, 128, 3)
        x = b.conv(f"conv5_4_CPM_{branch}", x, 512, 1)
        maps[branch] = b.conv(f"conv5_5_CPM_{branch}", x, channels, 1, activation=None)
    for stage in range(2, stages + 1):
        before = b.concat(f"concat_stage{stage}", maps["L1"], maps["L2"], features)
        for branch, channels in BRANCHES.items():
            x = before
            for number in range(1, 6):
                x = layer(f"Mconv{number}_stage{stage}_{branch}", x, 128, 7)
            x = b.conv(f"Mconv6_stage{stage}_{branch}", x, 128, 1)
            maps[branch] = b.conv(f"Mconv7_stage{stage}_{branch}", x, channels, 1, activation=None)
    return maps["L2"], maps["L1"]


def separable_stages(b: Builder, features: str, width: float, kernel: int, stages: int) -> tuple[str, str]:
    """Stages as in the mobilenets: five separable layers a branch. Gives heatmaps and PAFs.

    `kernel` is that of the first three layers of every stage but the first, whose is 3.
    """
    maps: dict[str, str] = {}
    source = features
    for stage in range(1, stages + 1):
        prefix = f"Openpose/MConv_Stage{stage}"
        if stage > 1:
            source = b.concat(f"{prefix}_concat", maps["L1"], maps["L2"], features)
        for branch, channels in BRANCHES.items():
            x = source
            for number in (1, 2, 3):
                size = 3 if stage == 1 else kernel
                x = separable(b, f"{prefix}_{branch}_{number}", x, int(128 * width), size)
            x = separable(b, f"{prefix}_{branch}_4", x, int((512 if stage == 1 else 128) * width), 1)
            maps[branch] = separable(b, f"{prefix}_{branch}_5", x, channels, 1, relu=False)
    return maps["L2"], maps["L1"]


def separable(
    b: Builder, scope: str, source: str, channels: int, kernel: int = 3, *, stride: int = 1, relu: bool = True
) -> str:
    """Upstream's separable convolution: nothing but a depthwise kernel, then 1x1 with batch normalization."""
    x = b.depthwise(f"{scope}_depthwise", source, kernel, stride=stride)
    return b.conv(f"{scope}_pointwise", x, channels, 1, norm="offset", activation="relu" if relu else None)
