"""Known network architectures by name. Each file has the papers, sizes and published accuracy of its networks."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from ...runtime.errors import ModelError
from .builder import NetworkBuilder, NetworkDefinition, Variable
from .cmu import define_cmu
from .dsconv import define_dsconv
from .lightweight import define_lightweight
from .lightweight_pytorch import define_lightweight_pytorch
from .mobilenet import define_mobilenet, define_mobilenet_thin
from .mobilenet_v2 import STAGE_WIDTHS, WIDTHS, define_mobilenet_v2

__all__ = ["NETWORKS", "NetworkBuilder", "NetworkDefinition", "Variable", "define_network"]

NETWORKS: dict[str, Callable[[str], NetworkDefinition]] = {
    "cmu": define_cmu,
    "dsconv": define_dsconv,
    "mobilenet": partial(define_mobilenet, width=0.75, stage_width=1.0),
    "mobilenet_fast": partial(define_mobilenet, width=0.5, stage_width=0.5),
    "mobilenet_accurate": partial(define_mobilenet, width=1.0, stage_width=1.0),
    "mobilenet_thin": partial(define_mobilenet_thin, width=0.75, stage_width=0.5),
    "mobilenet_v2_large": partial(define_mobilenet_v2, width=1.4, stage_width=1.0),
    "mobilenet_v2_small": partial(define_mobilenet_v2, width=0.5, stage_width=0.5),
    **{
        f"mobilenet_v2_w{width}_r{refine}": partial(define_mobilenet_v2, width=width, stage_width=refine)
        for width in WIDTHS
        for refine in STAGE_WIDTHS
    },
    "lightweight": define_lightweight,
    "lightweight_pytorch": define_lightweight_pytorch,
}


def define_network(name: str) -> NetworkDefinition:
    """Return the definition of a network, without weights.

    Raises:
        ModelError: The name is unknown; the message has the most similar names.
    """
    if name not in NETWORKS:
        close = difflib.get_close_matches(name, NETWORKS, n=3, cutoff=0.3) or list(NETWORKS)
        raise ModelError(f"no network {name!r}; did you mean {' or '.join(close)}?")
    return NETWORKS[name](name)
