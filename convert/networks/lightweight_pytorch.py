"""`lightweight_pytorch`: Lightweight OpenPose as its author's PyTorch code defines it.

It is not the network of `human-pose-estimation-0001` (`lightweight`): the block after the backbone has no second 1x1
convolution and no biases, the features come first in the concat of a stage, and the scale of the input is 1 / 256.
"""

from __future__ import annotations

from ...runtime.skeleton import COCO18
from .builder import NetworkBuilder, NetworkDefinition

MAX_REFINEMENT_STAGES = 8
"""Maximum number of refinement stages. Published checkpoints have 1 to 3."""
_BACKBONE = (
    (64, 1, 1), (128, 2, 1), (128, 1, 1), (256, 2, 1), (256, 1, 1), (512, 1, 1), (512, 1, 2),
    (512, 1, 1), (512, 1, 1), (512, 1, 1), (512, 1, 1),
)  # fmt: skip
"""Channels, stride and dilation of the separable layers."""
_BRANCHES = {"heatmaps": COCO18.heatmap_channels, "pafs": COCO18.paf_channels}
_STRIDE_2_PADDING = ((1, 1), (1, 1))
"""Padding of the layers with stride 2. TensorFlow's SAME would pad only at the bottom and right."""
_EPSILON = 1e-5
"""PyTorch's default for batch normalization."""


def define_lightweight_pytorch(name: str, refinement_stages: int = 1) -> NetworkDefinition:
    """Define `lightweight_pytorch`: MobileNetV1 with a dilated fifth block, an ELU block, and the stages.

    Paper: Osokin, Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose, 2018. Upstream:
    models/with_mobilenet.py of Daniil-Osokin/lightweight-human-pose-estimation.pytorch; scopes have the names of its
    modules. The input is scaled to (x - 128) / 256. GMAC at 432x368; AP on COCO 2017 val, published by upstream.

    ===================  =====  ============  =====
    name                  GMAC  M parameters     AP
    ===================  =====  ============  =====
    lightweight_pytorch  10.43          4.08  0.400
    ===================  =====  ============  =====

    Args:
        name: The name of the definition.
        refinement_stages: The number of stages after the initial stage.
    """
    b = NetworkBuilder(epsilon=_EPSILON)
    x = b.add_affine("data", "image", 1 / 256, -0.5)
    x = b.add_conv("model.0.0", x, 32, stride=2, padding=_STRIDE_2_PADDING, norm="scale and offset")
    for number, (channels, stride, dilation) in enumerate(_BACKBONE, 1):
        x = b.add_depthwise(
            f"model.{number}.0", x, stride=stride, dilation=dilation,
            padding="SAME" if stride == 1 else _STRIDE_2_PADDING, norm="scale and offset", activation="relu",
        )  # fmt: skip
        x = b.add_conv(f"model.{number}.3", x, channels, 1, norm="scale and offset")
    features = _add_align_block(b, x)
    trunk = features
    for number in range(3):
        trunk = b.add_conv(f"initial_stage.trunk.{number}.0", trunk, 128)
    heatmaps, pafs = _add_branches(b, "initial_stage", trunk, 512)
    for stage in range(refinement_stages):
        scope = f"refinement_stages.{stage}"
        trunk = b.add_concat(f"{scope}/concat", features, heatmaps, pafs)
        for number in range(5):
            trunk = _add_refinement_block(b, f"{scope}.trunk.{number}", trunk)
        heatmaps, pafs = _add_branches(b, scope, trunk, 128)
    return b.build(name, heatmaps, pafs)


def _add_align_block(b: NetworkBuilder, source: str) -> str:
    """Add the block that reduces 512 to 128 channels: a 1x1 convolution, then separable layers with a shortcut."""
    aligned = b.add_conv("cpm.align.0", source, 128, 1)
    x = aligned
    for number in range(3):
        x = b.add_depthwise(f"cpm.trunk.{number}.0", x, activation="elu")
        x = b.add_conv(f"cpm.trunk.{number}.2", x, 128, 1, bias=False, activation="elu")
    return b.add_conv("cpm.conv.0", b.add_sum("cpm/sum", aligned, x), 128)


def _add_refinement_block(b: NetworkBuilder, scope: str, source: str) -> str:
    """Add a 1x1 convolution, then two 3x3 convolutions (the second dilated) with a shortcut."""
    initial = b.add_conv(f"{scope}.initial.0", source, 128, 1)
    x = b.add_conv(f"{scope}.trunk.0.0", initial, 128, norm="scale and offset")
    x = b.add_conv(f"{scope}.trunk.1.0", x, 128, dilation=2, norm="scale and offset")
    return b.add_sum(f"{scope}/sum", initial, x)


def _add_branches(b: NetworkBuilder, scope: str, trunk: str, inside: int) -> list[str]:
    """Add two 1x1 convolutions per branch.

    Returns:
        The names of the nodes of the heatmaps and the PAFs.
    """
    outputs = []
    for branch, channels in _BRANCHES.items():
        x = b.add_conv(f"{scope}.{branch}.0.0", trunk, inside, 1)
        outputs.append(b.add_conv(f"{scope}.{branch}.1.0", x, channels, 1, activation=None))
    return outputs
