"""`lightweight`: Lightweight OpenPose, the network of Open Model Zoo's `human-pose-estimation-0001`."""

from __future__ import annotations

from .builder import Builder, Definition
from .heads import BRANCHES

_BACKBONE = (
    ("conv2_1", 64, 1, 1), ("conv2_2", 128, 2, 1), ("conv3_1", 128, 1, 1), ("conv3_2", 256, 2, 1),
    ("conv4_1", 256, 1, 1), ("conv4_2", 512, 1, 1), ("conv5_1", 512, 1, 2),
    ("conv5_2", 512, 1, 1), ("conv5_3", 512, 1, 1), ("conv5_4", 512, 1, 1), ("conv5_5", 512, 1, 1),
)  # fmt: skip
"""Name, channels, stride, dilation."""

_AROUND = ((1, 1), (1, 1))
"""Padding of the layers that halve the map, as Caffe has it; TensorFlow's SAME would pad at the end only."""


def lightweight(name: str) -> Definition:
    """MobileNetV1 with a dilated fifth block, an ELU block that aligns the features, an initial and a refinement stage.

    Paper: Osokin, Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose, 2018. Upstream: Open Model
    Zoo's human-pose-estimation-0001, whose names and biases it has; input scaled to (x - 128) / 255. GMAC at
    432x368; AP on COCO 2017 val as published by Open Model Zoo.

    ===========  =====  ============  =====
    name          GMAC  M parameters     AP
    ===========  =====  ============  =====
    lightweight  10.47          4.10  0.428
    ===========  =====  ============  =====
    """
    b = Builder()
    x = b.affine("data", "image", 1 / 255, -128 / 255)
    x = b.conv("conv1", x, 32, stride=2, padding=_AROUND, norm="scale and offset")
    for scope, channels, stride, dilation in _BACKBONE:
        x = b.depthwise(
            f"{scope}/dw", x, stride=stride, dilation=dilation, padding="SAME" if stride == 1 else _AROUND,
            norm="scale and offset", activation="relu",
        )  # fmt: skip
        x = b.conv(f"{scope}/sep", x, channels, 1, norm="scale and offset")
    features = _align(b, x)
    trunk = features
    for number in (1, 2, 3):
        trunk = b.conv(f"conv5_{number}_CPM_L1", trunk, 128)
    pafs, heatmaps = _maps(b, trunk, "conv5_4_CPM", 512, "conv5_5_CPM")
    trunk = b.concat("concat_stage2", pafs, heatmaps, features)
    for number in range(1, 6):
        trunk = _refine(b, f"Mconv{number}_stage2_L1", trunk)
    pafs, heatmaps = _maps(b, trunk, "Mconv6_stage2", 128, "Mconv7_stage2")
    return b.definition(name, heatmaps, pafs)


def _align(b: Builder, source: str) -> str:
    """512 to 128 channels, then a residual block of separable layers without normalization."""
    scope = "conv4_3_CPM"
    aligned = b.conv(f"{scope}/al", source, 128, 1, activation="elu")
    x = b.conv(f"{scope}/red", aligned, 128, 1, activation="elu")
    for number, pointwise in ((1, "dw1/1x1"), (2, "dw2/1x1"), (3, "inc")):
        x = b.depthwise(f"{scope}/dw{number}", x, bias=True, activation="elu")
        x = b.conv(f"{scope}/{pointwise}", x, 128, 1, activation="elu")
    return b.conv("conv4_4_CPM", b.add(f"{scope}/res", x, aligned), 128)


def _maps(b: Builder, trunk: str, first: str, inside: int, last: str) -> list[str]:
    """PAFs and heatmaps: two 1x1 convolutions a branch."""
    found = []
    for branch, channels in BRANCHES.items():
        x = b.conv(f"{first}_{branch}", trunk, inside, 1)
        found.append(b.conv(f"{last}_{branch}", x, channels, 1, activation=None))
    return found


def _refine(b: Builder, scope: str, source: str) -> str:
    """1x1, then two 3x3, the second dilated, beside which the result of the first goes through."""
    squeezed = b.conv(f"{scope}/sq", source, 128, 1)
    x = b.conv(f"{scope}/3x3", squeezed, 128, norm="scale and offset")
    x = b.conv(f"{scope}/3x3/2", x, 128, dilation=2, norm="scale and offset")
    return b.add(f"{scope}/5x5/res", x, squeezed)
