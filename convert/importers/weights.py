"""Weights by name: from whatever a file calls its variables into the network's definition, with an account of each.

Nothing is left at random: a variable that is missing or has the wrong shape is an error, one that is not used is
listed with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from ..networks import NETWORKS, Definition, Variable, define

Arrays = Mapping[str, g.Array]

_SHOWN = 3

_REASONS = (
    (r"(/|^)(Adam(_\d+)?|RMSProp(_\d+)?|Momentum|Adagrad|Adadelta(_\d+)?|Ftrl(_\d+)?)$", "state of the optimizer"),
    (r"(^|/)(beta\d_power(_\d+)?|global_step|learning_rate|save_counter|Variable(_\d+)?)$", "state of the training"),
    (r"ExponentialMovingAverage$", "running averages of the training"),
    (r"(quant|/(min|max)$)", "ranges of simulated quantization"),
    (r"(^|/)(Logits|Predictions|AuxLogits|fc\d|conv5_\d$|Conv2d_1?\d|expanded_conv_1[3-6]|Conv_1)(/|_|$)",
     "layers of the backbone that this network does not use"),
)  # fmt: skip
_LATER_STAGE = "stages that were cut off"


@dataclass(frozen=True)
class ImportReport:
    """What became of every variable of a file and of every variable of the network."""

    network: str
    matched: tuple[str, ...]
    folded: tuple[str, ...]
    """Batch normalizations that the file has folded into the biases of the convolution before them."""
    fixed: tuple[str, ...]
    """Scales of batch normalizations that neither training nor file has: they are one."""
    unused: Mapping[str, tuple[str, ...]]
    """Variables of the file that the network has no place for, by the reason."""

    def lines(self) -> list[str]:
        """The report for people to read; long lists are shortened."""
        found = [f"{len(self.matched)} variables matched by name, none missing"]
        if self.folded:
            found.append(f"{len(self.folded)} batch normalizations are folded into biases already")
        for reason, names in self.unused.items():
            found.append(f"{len(names)} unused, {reason}: {shortened(names)}")
        return [f"{self.network}: {line}" for line in found]


def fill(definition: Definition, arrays: Arrays, where: str) -> tuple[g.Graph, ImportReport]:
    """The network with the weights of `arrays`, and the account of them.

    A batch normalization may be there whole, without a scale (upstream fixes most at one), with empty statistics
    (published in training mode), or folded: then the convolution before it has biases in the file. Raises ModelError
    naming what is missing or has another shape than the definition; `where` names the file.
    """
    folded = _folded(definition, arrays)
    bound: dict[str, dict[str, g.Array | None]] = {}
    matched, fixed, missing = [], [], []
    for variable in definition.variables:
        if variable.node in folded:
            continue
        if variable.name in arrays:
            bound.setdefault(variable.node, {})[variable.attribute] = _checked(where, variable, arrays[variable.name])
            matched.append(variable.name)
        elif variable.required:
            missing.append(variable.name)
        else:
            fixed.append(variable.name)
    for conv in folded.values():
        name = f"{conv.name.rpartition('/')[0]}/biases"
        bias = Variable(name, conv.name, "bias", (conv.out_channels,))
        bound[conv.name]["bias"] = _checked(where, bias, arrays[name])
        matched.append(name)
    if missing:
        total = len(definition.variables) - len(fixed)
        raise ModelError(
            f"{where}: {len(missing)} of the {total} variables of {definition.name} are missing: {shortened(missing)}"
        )
    changes: dict[str, g.Node | str] = {
        name: replace(definition.graph.nodes[name], **attributes)  # type: ignore[arg-type]
        for name, attributes in bound.items()
    }
    changes.update({scope: conv.name for scope, conv in folded.items()})
    report = ImportReport(
        definition.name, tuple(matched), tuple(folded), tuple(fixed), _unused(definition, set(arrays) - set(matched))
    )
    return definition.graph.substitute(changes), report


def recognize(arrays: Arrays, where: str) -> str:
    """The network whose variables these are. Raises ModelError naming the nearest where they are nobody's."""
    shapes = {name: array.shape for name, array in arrays.items()}
    shares: dict[str, float] = {}
    for name in NETWORKS:
        definition = define(name)
        folded = _folded(definition, arrays)
        required = [v for v in definition.variables if v.required and v.node not in folded]
        fitting = sum(_fits(v, shapes.get(v.name)) for v in required)
        shares[name] = fitting / len(required)
        if fitting == len(required):
            return name
    nearest = max(shares, key=lambda name: shares[name])
    raise ModelError(
        f"{where}: no network has these variables; the nearest, {nearest}, finds {shares[nearest]:.0%} of its own. "
        "Say which it is with --network NAME to learn what is missing"
    )


def names_of(graph: g.Graph) -> dict[str, Any]:
    """The weights of an imported graph under the names its variables had.

    A kernel and its biases carry the scope of the convolution's node. A scale that follows the convolution (a
    batch normalization that was folded half-way) goes into the kernel. Statistics a graph does not have are empty.
    """
    found: dict[str, Any] = {}
    for node in graph.nodes.values():
        if not isinstance(node, g.Conv):
            continue
        scope = re.sub(r"/(Conv2D|depthwise|WithoutBiases)$", "", node.name)
        kernel, bias = node.kernel, node.bias
        follower = _only_reader(graph, node.name)
        while isinstance(follower, g.Affine):
            shape = kernel.shape[2:] if node.depthwise else kernel.shape[3:]
            scale = np.broadcast_to(follower.scale, node.out_channels)
            kernel = kernel * scale.reshape(shape)
            bias = np.broadcast_to(follower.offset, node.out_channels) + (0 if bias is None else bias * scale)
            follower = _only_reader(graph, follower.name)
        found[f"{scope}/{'depthwise_weights' if node.depthwise else 'weights'}"] = kernel
        if bias is not None:
            found[f"{scope}/biases"] = np.asarray(bias, np.float32)
        if isinstance(follower, g.BatchNorm):
            norm = f"{scope}/BatchNorm"
            found[f"{norm}/gamma"], found[f"{norm}/beta"] = follower.gamma, follower.beta
            empty = np.zeros(0, np.float32)
            found[f"{norm}/moving_mean"] = empty if follower.mean is None else follower.mean
            found[f"{norm}/moving_variance"] = empty if follower.variance is None else follower.variance
    return found


def shortened(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _only_reader(graph: g.Graph, name: str) -> g.Node | None:
    readers = graph.consumers(name)
    return readers[0] if len(readers) == 1 else None


def _folded(definition: Definition, arrays: Arrays) -> dict[str, g.Conv]:
    """Batch normalizations of which the file has nothing but the biases of the convolution before them."""
    found = {}
    for node in definition.graph.of_type(g.BatchNorm):
        conv = definition.graph.nodes[node.inputs[0]]
        assert isinstance(conv, g.Conv)
        biases = f"{conv.name.rpartition('/')[0]}/biases"
        if biases in arrays and f"{node.name}/beta" not in arrays:
            found[node.name] = conv
    return found


def _checked(where: str, variable: Variable, array: g.Array) -> g.Array | None:
    """The array as the graph wants it; None for statistics that are empty: the network was published without them."""
    if not _fits(variable, array.shape):
        raise ModelError(f"{where}: {variable.name} has the wrong shape: expected {variable.shape}, got {array.shape}")
    if not np.issubdtype(array.dtype, np.floating):
        raise ModelError(f"{where}: {variable.name} holds {array.dtype}; expected real numbers")
    if not np.isfinite(array).all():
        raise ModelError(f"{where}: {variable.name} holds numbers that are not finite")
    return np.asarray(array, np.float32).reshape(variable.shape) if array.size else None


def _fits(variable: Variable, shape: tuple[int, ...] | None) -> bool:
    statistics = variable.attribute in ("mean", "variance")
    return shape == variable.shape or (statistics and shape == (0,))


def _unused(definition: Definition, names: set[str]) -> dict[str, tuple[str, ...]]:
    whole = {v.name for v in define(definition.name).variables} if definition.name in NETWORKS else set()
    reasons: dict[str, list[str]] = {}
    for name in sorted(names):
        reason = _LATER_STAGE if name in whole else next((r for p, r in _REASONS if re.search(p, name)), None)
        reasons.setdefault(reason or "no place in the network", []).append(name)
    return {reason: tuple(listed) for reason, listed in reasons.items()}
