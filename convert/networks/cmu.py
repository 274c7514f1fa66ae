"""`cmu`: the network of OpenPose, with the first ten layers of VGG-19 as its backbone."""

from __future__ import annotations

from .builder import NetworkBuilder, NetworkDefinition
from .heads import add_cpm_stages

_VGG = (
    ("conv1_1", 64), ("conv1_2", 64), ("pool1_stage1", 0),
    ("conv2_1", 128), ("conv2_2", 128), ("pool2_stage1", 0),
    ("conv3_1", 256), ("conv3_2", 256), ("conv3_3", 256), ("conv3_4", 256), ("pool3_stage1", 0),
    ("conv4_1", 512), ("conv4_2", 512), ("conv4_3_CPM", 256), ("conv4_4_CPM", 128),
)  # fmt: skip
"""Name and channels; 0 channels means a 2x2 max pooling."""


def define_cmu(name: str) -> NetworkDefinition:
    """Define `cmu`: six stages of 7x7 convolutions; the input is scaled to x / 256 - 0.5.

    Paper: Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields, CVPR 2017.
    Upstream: tf_pose/network_cmu.py of tf-pose-estimation. GMAC at 432x368; AP on COCO 2014 val at one scale, published
    by tf-pose-estimation.

    ====  ======  ============  =====
    name    GMAC  M parameters     AP
    ====  ======  ============  =====
    cmu   159.57         52.31  0.507
    ====  ======  ============  =====
    """
    b = NetworkBuilder()
    x = b.add_affine("preprocess", "image", 1 / 256, -0.5)
    for scope, channels in _VGG:
        x = b.add_conv(scope, x, channels) if channels else b.add_max_pool(scope, x)
    return b.build(name, *add_cpm_stages(b, x, b.add_conv))
