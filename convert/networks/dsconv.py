"""`dsconv`: `cmu` with separable convolutions."""

from __future__ import annotations

from .builder import NetworkBuilder, NetworkDefinition
from .heads import add_cpm_stages, add_separable_conv

_LAYERS = (
    ("conv1_2", 64, 2), ("conv2_1", 128, 1), ("conv2_2", 128, 2),
    ("conv3_1", 256, 1), ("conv3_2", 256, 1), ("conv3_3", 256, 1), ("conv3_4", 256, 2),
    ("conv4_1", 512, 1), ("conv4_2", 512, 1), ("conv4_3_CPM", 256, 1), ("conv4_4_CPM", 128, 1),
)  # fmt: skip
"""Name, channels and stride of the separable layers."""


def define_dsconv(name: str) -> NetworkDefinition:
    """Define `dsconv`: `cmu` with strides instead of pooling and separable instead of full convolutions.

    The first convolution and the 1x1 convolutions stay as they are. Papers: as `cmu`; Howard et al., MobileNets, 2017.
    Upstream: tf_pose/network_dsconv.py of tf-pose-estimation, which trained it but publishes no AP ("not-enough speed
    and accuracy"). GMAC at 432x368.

    ======  =====  ============  ==
    name     GMAC  M parameters  AP
    ======  =====  ============  ==
    dsconv   8.48          2.55   -
    ======  =====  ============  ==
    """
    b = NetworkBuilder()
    x = b.add_conv("conv1_1", "image", 64)
    for scope, channels, stride in _LAYERS:
        x = add_separable_conv(b, scope, x, channels, stride=stride)
    return b.build(name, *add_cpm_stages(b, x, lambda *layer: add_separable_conv(b, *layer)))
