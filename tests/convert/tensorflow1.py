"""Networks in the format of tf-pose-estimation's training: TensorFlow 1 variables, graphs and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.convert.ir import graph as g
from edgepose.convert.networks import NetworkDefinition

from .networks import RNG, operator


def random_weights(definition: NetworkDefinition) -> dict[str, np.ndarray]:
    """Return random arrays for all required variables, scaled so that activations keep their magnitude."""
    found = {}
    for variable in definition.variables:
        if not variable.required:
            continue
        match variable.attribute:
            case "kernel":
                fan_in = np.prod(variable.shape[:2]) * (1 if "depthwise" in variable.name else variable.shape[2])
                array = RNG.standard_normal(variable.shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
            case "variance" | "gamma":
                array = RNG.uniform(0.5, 1.5, variable.shape)
            case _:
                array = RNG.normal(0, 0.3, variable.shape)
        found[variable.name] = array.astype(np.float32)
    return found


@dataclass
class WrittenNetwork:
    """Outputs that TensorFlow 1 computed, and the paths of the files."""

    heatmaps: np.ndarray
    pafs: np.ndarray
    checkpoint: Path
    frozen: Path


def write(
    definition: NetworkDefinition, weights: dict[str, np.ndarray], images: np.ndarray, folder: Path
) -> WrittenNetwork:
    """Write a checkpoint (with the state of an optimizer) and a frozen graph of a network with these weights."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default() as scope, v1.Session() as session:
        variables = {name: v1.get_variable(name, initializer=array) for name, array in weights.items()}
        made: dict[str, Any] = {}
        for node in definition.graph.nodes.values():
            made[node.name] = _operator(v1, node, [made[i] for i in node.inputs], variables)
        maps = made[definition.graph.heatmaps], made[definition.graph.pafs]
        result = v1.concat(maps, axis=3, name="Openpose/concat_stage7")
        extra = [v1.get_variable("global_step", initializer=np.int64(7))]
        extra += [v1.get_variable(f"{name}/Adam", initializer=0 * array) for name, array in list(weights.items())[:4]]
        session.run(v1.global_variables_initializer())
        joined = session.run(result, {made["image"]: images})
        checkpoint = v1.train.Saver().save(session, str(folder / "model-7"), write_meta_graph=False)
        frozen = v1.graph_util.convert_variables_to_constants(session, scope.as_graph_def(), ["Openpose/concat_stage7"])
    (folder / "graph.pb").write_bytes(frozen.SerializeToString())
    return WrittenNetwork(joined[..., :19], joined[..., 19:], Path(checkpoint), folder / "graph.pb")


def _operator(v1: Any, node: g.Node, inputs: list[Any], variables: dict[str, Any]) -> Any:
    scope = node.name.rpartition("/")[0]
    match node:
        case g.Conv():
            y = _convolution(v1, node, inputs[0], scope, variables)
            return v1.nn.bias_add(y, variables[f"{scope}/biases"]) if f"{scope}/biases" in variables else y
        case g.BatchNorm():
            own = {
                name: variables.get(f"{node.name}/{name}")
                for name in ("gamma", "beta", "moving_mean", "moving_variance")
            }
            return v1.nn.fused_batch_norm(
                inputs[0], np.ones_like(node.beta) if own["gamma"] is None else own["gamma"], own["beta"],
                own["moving_mean"], own["moving_variance"], epsilon=node.epsilon, is_training=False,
                name=f"{node.name}/FusedBatchNorm",
            )[0]  # fmt: skip
        case g.ResizeLike():
            # Upstream upsamples either to the size of another tensor or by a factor. Both cases are tested.
            size = v1.shape(inputs[1])[1:3] if node.name.startswith("base") else v1.shape(inputs[0])[1:3] * 2
            return v1.image.resize_bilinear(inputs[0], size, name=node.name)
    return operator(v1, node, inputs)


def _convolution(v1: Any, node: g.Conv, x: Any, scope: str, variables: dict[str, Any]) -> Any:
    padding: Any = node.padding
    if not isinstance(padding, str):
        x, padding = v1.pad(x, [(0, 0), *padding, (0, 0)]), "VALID"
    if node.depthwise:
        return v1.nn.depthwise_conv2d(
            x,
            variables[f"{scope}/depthwise_weights"],
            [1, *node.strides, 1],
            padding,
            rate=node.dilations,
            name=node.name,
        )
    return v1.nn.conv2d(
        x,
        variables[f"{scope}/weights"],
        [1, *node.strides, 1],
        padding,
        dilations=[1, *node.dilations, 1],
        name=node.name,
    )
