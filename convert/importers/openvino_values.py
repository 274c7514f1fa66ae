"""Values of the layers of an OpenVINO IR: feature maps, and sizes that are computed from their shapes."""

from __future__ import annotations

from dataclasses import dataclass

from .openvino_constants import Constant
from .openvino_xml import Layer, UnsupportedLayerError

NO_PADDING = ((0, 0), (0, 0))


@dataclass(frozen=True)
class FeatureMap:
    """Feature map of the IR.

    Attributes:
        node: Graph node that computes it.
        axes: Meaning of its dimensions in the IR, such as `NCHW`. The output of the node is always NHWC.
        channels: Different channels of the node that it consists of; None for all, in order. It is set if the IR
            reverses the channels of the image or splits them.
        node_channels: Number of channels of the node, if `channels` is set.
        padding: Zeros that the IR adds around it, for the next convolution.
    """

    node: str
    axes: str
    channels: tuple[int, ...] | None = None
    node_channels: int = 0
    padding: tuple[tuple[int, int], tuple[int, int]] = NO_PADDING


@dataclass(frozen=True)
class MapShape:
    """Value that is computed from the shape of a feature map: `factor` times its height and width."""

    node: str
    factor: int = 1


Value = Constant | FeatureMap | MapShape | UnsupportedLayerError


def make_error(layer: Layer, detail: str = "") -> UnsupportedLayerError:
    """Make the error for a layer that is not supported as it is used."""
    if not detail:
        attributes = ", ".join(f"{key}={value}" for key, value in layer.attributes.items())
        detail = f"({attributes[:160]})" if attributes else ""
    return UnsupportedLayerError(f"type {layer.kind} of {layer.label} {detail}".rstrip() + " is not supported")
