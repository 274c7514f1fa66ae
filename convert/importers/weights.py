"""Assignment of weights to a network definition by variable name.

A variable that is missing or has the wrong shape is an error. A variable of the file that is not used is reported with
the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from ..networks import NETWORKS, NetworkDefinition, Variable, define_network

Arrays = Mapping[str, g.Array]

_MAX_LISTED_NAMES = 3

_LATER_STAGE = "stages that were cut off"
_UNUSED_REASONS = (
    (r"(/|^)(Adam(_\d+)?|RMSProp(_\d+)?|Momentum|Adagrad|Adadelta(_\d+)?|Ftrl(_\d+)?)$", "optimizer state"),
    (r"(^|/)(beta\d_power(_\d+)?|global_step|learning_rate|save_counter|Variable(_\d+)?)$", "training state"),
    (r"ExponentialMovingAverage$", "moving averages of the training"),
    (r"^refinement_stages\.\d+\.", _LATER_STAGE),
    (r"(quant|/(min|max)$)", "ranges of quantization-aware training"),
    (r"(^|/)(Logits|Predictions|AuxLogits|fc\d|conv5_\d$|Conv2d_1?\d|expanded_conv_1[3-6]|Conv_1)(/|_|$)",
     "layers of the backbone that this network does not use"),
)  # fmt: skip
"""Pattern of the variable name, and why the network does not use such a variable."""


@dataclass(frozen=True)
class WeightReport:
    """Result of the assignment for every variable of the file and of the network."""

    network: str
    matched_variables: tuple[str, ...]
    folded_norms: tuple[str, ...]
    """Batch normalizations that are already folded into the convolution before them in the file."""
    constant_scales: tuple[str, ...]
    """Scales of batch normalizations that are not in the file because they are a constant 1."""
    unused_variables: Mapping[str, tuple[str, ...]]
    """Variables of the file that the network does not use, by reason."""

    def format_lines(self) -> list[str]:
        """Return the report as lines of text. Long lists of names are shortened."""
        lines = [f"{len(self.matched_variables)} variables matched by name, none missing"]
        if self.folded_norms:
            lines.append(f"{len(self.folded_norms)} batch normalizations are already folded into biases")
        for reason, names in self.unused_variables.items():
            lines.append(f"{len(names)} unused, {reason}: {_format_names(names)}")
        return [f"{self.network}: {line}" for line in lines]


def fill_definition(definition: NetworkDefinition, arrays: Arrays, file_name: str) -> tuple[g.Graph, WeightReport]:
    """Fill a network definition with weights.

    A batch normalization in the file can be complete, without a scale (most are a constant 1 in the upstream code),
    with empty statistics (published in training mode), or folded: then the file has biases for the convolution before
    it.

    Args:
        definition: The network.
        arrays: The weights by variable name.
        file_name: The name of the file, for error messages.

    Returns:
        The graph with weights, and the report of the assignment.

    Raises:
        ModelError: A variable is missing, has the wrong shape or dtype, or has values that are not finite.
    """
    folded = _find_folded_norms(definition, arrays)
    attributes_by_node: dict[str, dict[str, g.Array | None]] = {}
    matched, fixed, missing = [], [], []
    for variable in definition.variables:
        if variable.node in folded:
            continue
        if variable.name in arrays:
            array = _check_array(file_name, variable, arrays[variable.name])
            attributes_by_node.setdefault(variable.node, {})[variable.attribute] = array
            matched.append(variable.name)
        elif variable.required:
            missing.append(variable.name)
        else:
            fixed.append(variable.name)
    for conv in folded.values():
        name = f"{conv.name.rpartition('/')[0]}/biases"
        bias = Variable(name, conv.name, "bias", (conv.out_channels,))
        attributes_by_node[conv.name]["bias"] = _check_array(file_name, bias, arrays[name])
        matched.append(name)
    if missing:
        total = len(definition.variables) - len(fixed)
        raise ModelError(
            f"{file_name}: {len(missing)} of the {total} variables of {definition.name} are missing: "
            f"{_format_names(missing)}"
        )
    changes: dict[str, g.Node | str] = {
        name: replace(definition.graph.nodes[name], **attributes)  # type: ignore[arg-type]
        for name, attributes in attributes_by_node.items()
    }
    changes.update({scope: conv.name for scope, conv in folded.items()})
    unused = _explain_unused(definition, set(arrays) - set(matched))
    report = WeightReport(definition.name, tuple(matched), tuple(folded), tuple(fixed), unused)
    return definition.graph.substitute(changes), report


def recognize_network(arrays: Arrays, file_name: str) -> str:
    """Return the name of the network that has these variables.

    Args:
        arrays: The weights by variable name.
        file_name: The name of the file, for error messages.

    Raises:
        ModelError: No known network has these variables; the message has the most similar network.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    matched_shares: dict[str, float] = {}
    for name in NETWORKS:
        definition = define_network(name)
        folded = _find_folded_norms(definition, arrays)
        required = [v for v in definition.variables if v.required and v.node not in folded]
        matched = sum(_is_shape_valid(v, shapes.get(v.name)) for v in required)
        matched_shares[name] = matched / len(required)
        if matched == len(required):
            return name
    nearest = max(matched_shares, key=lambda name: matched_shares[name])
    raise ModelError(
        f"{file_name}: no known network has these variables; the most similar is {nearest}, with "
        f"{matched_shares[nearest]:.0%} of its variables in the file. Add --network NAME to see which are missing"
    )


def collect_weights_by_name(graph: g.Graph) -> dict[str, Any]:
    """Return the weights of an imported graph under the names that they had as TensorFlow variables.

    The names of a kernel and its biases start with the scope of the convolution's node. A scale after the convolution
    (a partly folded batch normalization) is multiplied into the kernel. Statistics that the graph does not have are
    empty arrays.
    """
    arrays: dict[str, Any] = {}
    for node in graph.nodes.values():
        if not isinstance(node, g.Conv):
            continue
        scope = re.sub(r"/(Conv2D|depthwise|WithoutBiases)$", "", node.name)
        kernel, bias = node.kernel, node.bias
        follower = _find_only_reader(graph, node.name)
        while isinstance(follower, g.Affine):
            shape = kernel.shape[2:] if node.depthwise else kernel.shape[3:]
            scale = np.broadcast_to(follower.scale, node.out_channels)
            kernel = kernel * scale.reshape(shape)
            bias = np.broadcast_to(follower.offset, node.out_channels) + (0 if bias is None else bias * scale)
            follower = _find_only_reader(graph, follower.name)
        arrays[f"{scope}/{'depthwise_weights' if node.depthwise else 'weights'}"] = kernel
        if bias is not None:
            arrays[f"{scope}/biases"] = np.asarray(bias, np.float32)
        if isinstance(follower, g.BatchNorm):
            norm = f"{scope}/BatchNorm"
            arrays[f"{norm}/gamma"], arrays[f"{norm}/beta"] = follower.gamma, follower.beta
            empty = np.zeros(0, np.float32)
            arrays[f"{norm}/moving_mean"] = empty if follower.mean is None else follower.mean
            arrays[f"{norm}/moving_variance"] = empty if follower.variance is None else follower.variance
    return arrays


def _format_names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MAX_LISTED_NAMES} more" if len(listed) > _MAX_LISTED_NAMES else ""
    return ", ".join(listed[:_MAX_LISTED_NAMES]) + more


def _find_only_reader(graph: g.Graph, name: str) -> g.Node | None:
    readers = graph.find_consumers(name)
    return readers[0] if len(readers) == 1 else None


def _find_folded_norms(definition: NetworkDefinition, arrays: Arrays) -> dict[str, g.Conv]:
    """Find the batch normalizations that are folded in the file: it has only biases of the convolution before them.

    Returns:
        The convolution before each folded batch normalization, by the name of the batch normalization.
    """
    folded = {}
    for node in definition.graph.find_nodes(g.BatchNorm):
        conv = definition.graph.nodes[node.inputs[0]]
        assert isinstance(conv, g.Conv)
        biases = f"{conv.name.rpartition('/')[0]}/biases"
        if biases in arrays and f"{node.name}/beta" not in arrays:
            folded[node.name] = conv
    return folded


def _check_array(file_name: str, variable: Variable, array: g.Array) -> g.Array | None:
    """Check an array and convert it to float32. Return None for empty statistics (published in training mode)."""
    if not _is_shape_valid(variable, array.shape):
        raise ModelError(
            f"{file_name}: {variable.name} has the wrong shape: expected {variable.shape}, got {array.shape}"
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise ModelError(f"{file_name}: {variable.name} has the dtype {array.dtype}; expected a floating-point type")
    if not np.isfinite(array).all():
        raise ModelError(f"{file_name}: {variable.name} has values that are not finite (NaN or infinity)")
    return np.asarray(array, np.float32).reshape(variable.shape) if array.size else None


def _is_shape_valid(variable: Variable, shape: tuple[int, ...] | None) -> bool:
    statistics = variable.attribute in ("mean", "variance")
    return shape == variable.shape or (statistics and shape == (0,))


def _explain_unused(definition: NetworkDefinition, names: set[str]) -> dict[str, tuple[str, ...]]:
    """Group unused variables of the file by the reason why the network does not use them."""
    all_stages = {v.name for v in define_network(definition.name).variables} if definition.name in NETWORKS else set()
    # Of a folded batch normalization the file has only the biases of the convolution.
    all_stages |= {re.sub(r"/BatchNorm/beta$", "/biases", name) for name in all_stages}
    names_by_reason: dict[str, list[str]] = {}
    for name in sorted(names):
        if name in all_stages:
            reason = _LATER_STAGE
        else:
            reason = next((r for p, r in _UNUSED_REASONS if re.search(p, name)), "not part of the network")
        names_by_reason.setdefault(reason, []).append(name)
    return {reason: tuple(listed) for reason, listed in names_by_reason.items()}
