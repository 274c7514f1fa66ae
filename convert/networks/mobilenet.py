"""`mobilenet`, `mobilenet_fast`, `mobilenet_accurate` and `mobilenet_thin`: MobileNetV1 with separable stages."""

from __future__ import annotations

from .builder import NetworkBuilder, NetworkDefinition
from .heads import add_separable_conv, add_separable_stages

_CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512)
"""Output channels of layers 1 to 11 of MobileNetV1."""
_STRIDE_2_LAYERS = (2, 4)


def define_mobilenet(name: str, width: float, stage_width: float) -> NetworkDefinition:
    """Define a network with features of three scales resized to **stride 4**, and five stages with 7x7 kernels.

    Papers: Howard et al., MobileNets, 2017; Cao et al., 2017. Upstream: tf_pose/network_mobilenet.py of
    tf-pose-estimation, which trained all three but publishes no AP. `width` is the width factor of the backbone,
    `stage_width` (column "stages") that of the stages. GMAC at 432x368.

    ==================  =====  ======  =====  ============  ==
    name                width  stages   GMAC  M parameters  AP
    ==================  =====  ======  =====  ============  ==
    mobilenet            0.75    1.00  18.12          2.04   -
    mobilenet_fast       0.50    0.50   6.91          0.79   -
    mobilenet_accurate   1.00    1.00  21.78          2.57   -
    ==================  =====  ======  =====  ============  ==
    """
    b = NetworkBuilder()
    layers = _add_backbone(b, width, 7)
    pooled = b.add_max_pool("Conv2d_1_pool", layers[1])
    enlarged = b.add_resize_like("Conv2d_7_upsample", layers[7], layers[3])
    features = b.add_concat("feat_concat", pooled, layers[3], enlarged)
    return b.build(name, *add_separable_stages(b, features, stage_width, 7, 5))


def define_mobilenet_thin(name: str, width: float, stage_width: float) -> NetworkDefinition:
    """Define a network with features of three depths at stride 8, and six stages with 3x3 kernels.

    Papers: as `mobilenet`. Upstream: tf_pose/network_mobilenet_thin.py of tf-pose-estimation. GMAC at 432x368; AP on
    COCO 2014 val, published by tf-pose-estimation.

    ==============  =====  ======  =====  ============  =====
    name            width  stages   GMAC  M parameters     AP
    ==============  =====  ======  =====  ============  =====
    mobilenet_thin   0.75    0.50   4.97          1.93  0.281
    ==============  =====  ======  =====  ============  =====
    """
    b = NetworkBuilder()
    layers = _add_backbone(b, width, 11)
    pooled = b.add_max_pool("Conv2d_3_pool", layers[3])
    features = b.add_concat("feat_concat", pooled, layers[7], layers[11])
    return b.build(name, *add_separable_stages(b, features, stage_width, 3, 6))


def _add_backbone(b: NetworkBuilder, width: float, last: int) -> list[str]:
    """Add the layers 0 to `last` of MobileNetV1 and return the names of their output nodes."""
    layers = [b.add_conv("MobilenetV1/Conv2d_0", "image", max(int(32 * width), 8), stride=2, norm="offset")]
    for number, channels in enumerate(_CHANNELS[:last], 1):
        stride = 2 if number in _STRIDE_2_LAYERS else 1
        scope = f"MobilenetV1/Conv2d_{number}"
        layers.append(add_separable_conv(b, scope, layers[-1], max(int(channels * width), 8), stride=stride))
    return layers
