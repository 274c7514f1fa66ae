"""`mobilenet_v2_large`, `mobilenet_v2_small` and `mobilenet_v2_w*_r*`: MobileNetV2 with separable stages."""

from __future__ import annotations

from .builder import NetworkBuilder, NetworkDefinition
from .heads import add_separable_stages

WIDTHS = (1.4, 1.0, 0.75, 0.5)
STAGE_WIDTHS = (1.0, 0.75, 0.5)

_BLOCKS = (
    (16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2),
    (64, 1), (64, 1), (64, 1), (96, 1), (96, 1), (96, 1),
)  # fmt: skip
"""Channels and stride of the inverted residual blocks 0 to 12. Later blocks are not used."""


def define_mobilenet_v2(name: str, width: float, stage_width: float) -> NetworkDefinition:
    """Define a network with features from blocks 5 (stride 8) and 12 (stride 16, resized), and six stages.

    The stages have 3x3 kernels. `width` is the width factor of the backbone, `stage_width` (column "stages") that of
    the stages. `mobilenet_v2_large` is w1.4_r1.0, `mobilenet_v2_small` is w0.5_r0.5. The published
    `mobilenet_v2_small` has a backbone with batch normalization in training mode; see `passes/bn_statistics.py`.

    Papers: Sandler et al., MobileNetV2, 2018; Cao et al., 2017. Upstream: tf_pose/network_mobilenet_v2.py and
    tf_pose/mobilenet/ of tf-pose-estimation. GMAC at 432x368; AP on COCO 2014 val, published by tf-pose-estimation.

    ======================== =====  ======  =====  ============  =====
    name                     width  stages   GMAC  M parameters     AP
    ======================== =====  ======  =====  ============  =====
    mobilenet_v2_large        1.40    1.00   4.18          2.20  0.313
    mobilenet_v2_small        0.50    0.50   1.01          0.47  0.173
    mobilenet_v2_w1.4_r1.0    1.40    1.00   4.18          2.20      -
    mobilenet_v2_w1.4_r0.75   1.40    0.75   3.15          1.79      -
    mobilenet_v2_w1.4_r0.5    1.40    0.50   2.33          1.46      -
    mobilenet_v2_w1.0_r1.0    1.00    1.00   3.33          1.62      -
    mobilenet_v2_w1.0_r0.75   1.00    0.75   2.36          1.22      -
    mobilenet_v2_w1.0_r0.5    1.00    0.50   1.59          0.91      -
    mobilenet_v2_w0.75_r1.0   0.75    1.00   3.02          1.35      -
    mobilenet_v2_w0.75_r0.75  0.75    0.75   2.08          0.96      -
    mobilenet_v2_w0.75_r0.5   0.75    0.50   1.35          0.67      -
    mobilenet_v2_w0.5_r1.0    0.50    1.00   2.62          1.12      -
    mobilenet_v2_w0.5_r0.75   0.50    0.75   1.71          0.75      -
    mobilenet_v2_w0.5_r0.5    0.50    0.50   1.01          0.47      -
    ======================== =====  ======  =====  ============  =====
    """
    b = NetworkBuilder()
    x = b.add_conv(
        "MobilenetV2/Conv", "image", _round_channels(32 * width), stride=2, norm="scale and offset", activation="relu6"
    )
    in_channels, blocks = _round_channels(32 * width), []
    for number, (channels, stride) in enumerate(_BLOCKS):
        out_channels = _round_channels(channels * width)
        x = _add_block(b, number, x, in_channels, out_channels, stride)
        in_channels = out_channels
        blocks.append(x)
    enlarged = b.add_resize_like("base/layer_14/output/upsample", blocks[12], blocks[5])
    features = b.add_concat("feat_concat", blocks[5], enlarged)
    return b.build(name, *add_separable_stages(b, features, stage_width, 3, 6))


def _add_block(b: NetworkBuilder, number: int, source: str, in_channels: int, out_channels: int, stride: int) -> str:
    """Add an inverted residual block: expand by six, depthwise, project, and a shortcut if the shape is unchanged."""
    scope = f"MobilenetV2/expanded_conv_{number}" if number else "MobilenetV2/expanded_conv"
    x = source
    if number:
        x = b.add_conv(
            f"{scope}/expand", x, _round_channels(in_channels * 6), 1, norm="scale and offset", activation="relu6"
        )
    x = b.add_depthwise(f"{scope}/depthwise", x, stride=stride, norm="scale and offset", activation="relu6")
    x = b.add_conv(f"{scope}/project", x, out_channels, 1, norm="scale and offset", activation=None)
    return b.add_sum(f"{scope}/add", x, source) if stride == 1 and in_channels == out_channels else x


def _round_channels(channels: float) -> int:
    """Round a channel count to a multiple of 8, at least 8 and at least 90 % of the value."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
