"""`lightweight`: Lightweight OpenPose, the network of `human-pose-estimation-0001` in Open Model Zoo."""

from __future__ import annotations

from .builder import NetworkBuilder, NetworkDefinition
from .heads import BRANCHES

_BACKBONE = (
    ("conv2_1", 64, 1, 1), ("conv2_2", 128, 2, 1), ("conv3_1", 128, 1, 1), ("conv3_2", 256, 2, 1),
    ("conv4_1", 256, 1, 1), ("conv4_2", 512, 1, 1), ("conv5_1", 512, 1, 2),
    ("conv5_2", 512, 1, 1), ("conv5_3", 512, 1, 1), ("conv5_4", 512, 1, 1), ("conv5_5", 512, 1, 1),
)  # fmt: skip
"""Name, channels, stride and dilation of the separable layers."""

_STRIDE_2_PADDING = ((1, 1), (1, 1))
"""Padding of the layers with stride 2, as in Caffe. TensorFlow's SAME would pad only at the bottom and right."""


def define_lightweight(name: str) -> NetworkDefinition:
    """Define `lightweight`: MobileNetV1 with a dilated fifth block, an ELU block, an initial and a refinement stage.

    Paper: Osokin, Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose, 2018. Upstream:
    human-pose-estimation-0001 of Open Model Zoo; names and biases are the same. The input is scaled to
    (x - 128) / 255. GMAC at 432x368; AP on COCO 2017 val, published by Open Model Zoo.

    ===========  =====  ============  =====
    name          GMAC  M parameters     AP
    ===========  =====  ============  =====
    lightweight  10.47          4.10  0.428
    ===========  =====  ============  =====
    """
    b = NetworkBuilder()
    x = b.add_affine("data", "image", 1 / 255, -128 / 255)
    x = b.add_conv("conv1", x, 32, stride=2, padding=_STRIDE_2_PADDING, norm="scale and offset")
    for scope, channels, stride, dilation in _BACKBONE:
        x = b.add_depthwise(
            f"{scope}/dw", x, stride=stride, dilation=dilation, padding="SAME" if stride == 1 else _STRIDE_2_PADDING,
            norm="scale and offset", activation="relu",
        )  # fmt: skip
        x = b.add_conv(f"{scope}/sep", x, channels, 1, norm="scale and offset")
    features = _add_align_block(b, x)
    trunk = features
    for number in (1, 2, 3):
        trunk = b.add_conv(f"conv5_{number}_CPM_L1", trunk, 128)
    pafs, heatmaps = _add_output_branches(b, trunk, "conv5_4_CPM", 512, "conv5_5_CPM")
    trunk = b.add_concat("concat_stage2", pafs, heatmaps, features)
    for number in range(1, 6):
        trunk = _add_refinement_block(b, f"Mconv{number}_stage2_L1", trunk)
    pafs, heatmaps = _add_output_branches(b, trunk, "Mconv6_stage2", 128, "Mconv7_stage2")
    return b.build(name, heatmaps, pafs)


def _add_align_block(b: NetworkBuilder, source: str) -> str:
    """Add the block that reduces 512 to 128 channels: a 1x1 convolution, then separable layers with a shortcut.

    It has no batch normalization.
    """
    scope = "conv4_3_CPM"
    aligned = b.add_conv(f"{scope}/al", source, 128, 1, activation="elu")
    x = b.add_conv(f"{scope}/red", aligned, 128, 1, activation="elu")
    for number, pointwise in ((1, "dw1/1x1"), (2, "dw2/1x1"), (3, "inc")):
        x = b.add_depthwise(f"{scope}/dw{number}", x, bias=True, activation="elu")
        x = b.add_conv(f"{scope}/{pointwise}", x, 128, 1, activation="elu")
    return b.add_conv("conv4_4_CPM", b.add_sum(f"{scope}/res", x, aligned), 128)


def _add_output_branches(b: NetworkBuilder, trunk: str, first: str, inside: int, last: str) -> list[str]:
    """Add two 1x1 convolutions per branch.

    Returns:
        The names of the nodes of the PAFs and the heatmaps.
    """
    outputs = []
    for branch, channels in BRANCHES.items():
        x = b.add_conv(f"{first}_{branch}", trunk, inside, 1)
        outputs.append(b.add_conv(f"{last}_{branch}", x, channels, 1, activation=None))
    return outputs


def _add_refinement_block(b: NetworkBuilder, scope: str, source: str) -> str:
    """Add a refinement block: a 1x1 convolution, then two 3x3 convolutions (the second dilated) with a shortcut."""
    squeezed = b.add_conv(f"{scope}/sq", source, 128, 1)
    x = b.add_conv(f"{scope}/3x3", squeezed, 128, norm="scale and offset")
    x = b.add_conv(f"{scope}/3x3/2", x, 128, dilation=2, norm="scale and offset")
    return b.add_sum(f"{scope}/5x5/res", x, squeezed)
