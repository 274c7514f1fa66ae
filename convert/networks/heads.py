"""Stages that compute heatmaps and PAFs from features, in the two variants of the upstream code.

The input of stage 1 is the features. The input of every later stage is the features and the heatmaps and PAFs of the
stage before. Branch L1 computes the PAFs, branch L2 the heatmaps.
Paper: Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, 2017.
"""

from __future__ import annotations

from collections.abc import Callable

from ...runtime.skeleton import COCO18
from .builder import NetworkBuilder

BRANCHES = {"L1": COCO18.paf_channels, "L2": COCO18.heatmap_channels}

AddLayer = Callable[[str, str, int, int], str]
"""Function that adds a layer: (scope, source, channels, kernel size) -> name of the output node."""


def add_cpm_stages(b: NetworkBuilder, features: str, layer: AddLayer, stages: int = 6) -> tuple[str, str]:
    """Add the stages of `cmu`: three layers in stage 1, five in later stages, then two 1x1 convolutions.

    Returns:
        The names of the nodes of the heatmaps and the PAFs.
    """
    maps: dict[str, str] = {}
    for branch, channels in BRANCHES.items():
        x = features
        for number in (1, 2, 3):
            x = layer(f"conv5_{number}_CPM_{branch}", x, 128, 3)
        x = b.add_conv(f"conv5_4_CPM_{branch}", x, 512, 1)
        maps[branch] = b.add_conv(f"conv5_5_CPM_{branch}", x, channels, 1, activation=None)
    for stage in range(2, stages + 1):
        before = b.add_concat(f"concat_stage{stage}", maps["L1"], maps["L2"], features)
        for branch, channels in BRANCHES.items():
            x = before
            for number in range(1, 6):
                x = layer(f"Mconv{number}_stage{stage}_{branch}", x, 128, 7)
            x = b.add_conv(f"Mconv6_stage{stage}_{branch}", x, 128, 1)
            maps[branch] = b.add_conv(f"Mconv7_stage{stage}_{branch}", x, channels, 1, activation=None)
    return maps["L2"], maps["L1"]


def add_separable_stages(b: NetworkBuilder, features: str, width: float, kernel: int, stages: int) -> tuple[str, str]:
    """Add the stages of the MobileNet networks: five separable layers per branch.

    Args:
        b: The builder.
        features: The name of the feature node.
        width: Factor for the number of channels.
        kernel: Kernel size of the first three layers of each stage. In stage 1 it is always 3.
        stages: The number of stages.

    Returns:
        The names of the nodes of the heatmaps and the PAFs.
    """
    maps: dict[str, str] = {}
    source = features
    for stage in range(1, stages + 1):
        prefix = f"Openpose/MConv_Stage{stage}"
        if stage > 1:
            source = b.add_concat(f"{prefix}_concat", maps["L1"], maps["L2"], features)
        for branch, channels in BRANCHES.items():
            x = source
            for number in (1, 2, 3):
                size = 3 if stage == 1 else kernel
                x = add_separable_conv(b, f"{prefix}_{branch}_{number}", x, int(128 * width), size)
            x = add_separable_conv(b, f"{prefix}_{branch}_4", x, int((512 if stage == 1 else 128) * width), 1)
            maps[branch] = add_separable_conv(b, f"{prefix}_{branch}_5", x, channels, 1, relu=False)
    return maps["L2"], maps["L1"]


def add_separable_conv(
    b: NetworkBuilder, scope: str, source: str, channels: int, kernel: int = 3, *, stride: int = 1, relu: bool = True
) -> str:
    """Add a separable convolution as in the upstream code.

    The depthwise convolution has no bias, normalization or activation; the 1x1 convolution has batch normalization.
    """
    x = b.add_depthwise(f"{scope}_depthwise", source, kernel, stride=stride)
    return b.add_conv(f"{scope}_pointwise", x, channels, 1, norm="offset", activation="relu" if relu else None)
