"""Known network architectures by name. Each file has the papers, sizes and published accuracy of its networks."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from ...runtime.errors import ModelError
from .builder import Builder, Definition, Variable
from .cmu import cmu
from .dsconv import dsconv
from .lightweight import lightweight
from .mobilenet import mobilenet, mobilenet_thin
from .mobilenet_v2 import REFINE_WIDTHS, WIDTHS, mobilenet_v2

__all__ = ["NETWORKS", "Builder", "Definition", "Variable", "define"]

NETWORKS: dict[str, Callable[[str], Definition]] = {
    "cmu": cmu,
    "dsconv": dsconv,
    "mobilenet": partial(mobilenet, width=0.75, refine=1.0),
    "mobilenet_fast": partial(mobilenet, width=0.5, refine=0.5),
    "mobilenet_accurate": partial(mobilenet, width=1.0, refine=1.0),
    "mobilenet_thin": partial(mobilenet_thin, width=0.75, refine=0.5),
    "mobilenet_v2_large": partial(mobilenet_v2, width=1.4, refine=1.0),
    "mobilenet_v2_small": partial(mobilenet_v2, width=0.5, refine=0.5),
    **{
        f"mobilenet_v2_w{width}_r{refine}": partial(mobilenet_v2, width=width, refine=refine)
        for width in WIDTHS
        for refine in REFINE_WIDTHS
    },
    "lightweight": lightweight,
}


def define(name: str) -> Definition:
    """Return the definition of a network, without weights.

    Raises:
        ModelError: The name is unknown; the message has the most similar names.
    """
    if name not in NETWORKS:
        close = difflib.get_close_matches(name, NETWORKS, n=3, cutoff=0.3) or list(NETWORKS)
        raise ModelError(f"no network {name!r}; did you mean {' or '.join(close)}?")
    return NETWORKS[name](name)
