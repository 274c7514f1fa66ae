"""Small networks with the structure of the network families and random weights, as graphs and as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepose.convert.ir import graph as g

RNG = np.random.default_rng(11)


def conv(name: str, source: str, shape: tuple[int, ...], **options: Any) -> g.Conv:
    fan_in = shape[0] * shape[1] * (1 if options.get("depthwise") else shape[2])
    kernel = RNG.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
    return g.Conv(name=name, inputs=(source,), kernel=kernel, **options)


def norm(name: str, source: str, channels: int, training: bool) -> g.BatchNorm:
    gamma, variance = RNG.uniform(0.5, 1.5, (2, channels)).astype(np.float32)
    beta, mean = RNG.normal(0, 0.3, (2, channels)).astype(np.float32)
    statistics = {} if training else {"mean": mean, "variance": variance}
    return g.BatchNorm(name=name, inputs=(source,), gamma=gamma, beta=beta, **statistics)


def relu(name: str, source: str, kind: g.ActivationKind = "relu") -> g.Activation:
    return g.Activation(name=name, inputs=(source,), kind=kind)


def small_graph(*, training: bool = False) -> g.Graph:
    """Return a graph with every operator: strides, dilation, depthwise, resize, concat, pool, both normalizations."""
    one = np.ones(1, np.float32)
    nodes: list[g.Node] = [
        g.Input(name="image"),
        g.Affine(name="scaled", inputs=("image",), scale=one / 256, offset=-0.5 * one),
        conv("conv1", "scaled", (3, 3, 3, 8), strides=(2, 2)),
        norm("bn1", "conv1", 8, training),
        relu("relu1", "bn1", "relu6"),
        conv("dw2", "relu1", (3, 3, 8, 1), strides=(2, 2), depthwise=True),
        norm("bn2", "dw2", 8, training=False),
        relu("relu2", "bn2", "elu"),
        conv("pw2", "relu2", (1, 1, 8, 12), strides=(2, 2)),
        g.MaxPool(name="pool", inputs=("pw2",), window=(2, 2), strides=(2, 2)),
        conv("pw3", "pool", (1, 1, 12, 12)),
        g.ResizeLike(name="up", inputs=("pw3", "pw2")),
        g.Concat(name="features", inputs=("pw2", "up")),
        norm("bn3", "features", 24, training),
        conv("dilated", "bn3", (3, 3, 24, 1), depthwise=True, dilations=(2, 2), padding=((2, 2), (2, 2))),
        conv("pw4", "dilated", (1, 1, 24, 24)),
        g.Add(name="sum", inputs=("pw4", "features")),
        relu("relu4", "sum"),
        conv("pafs", "relu4", (1, 1, 24, 38)),
        conv("heatmaps", "relu4", (1, 1, 24, 19)),
    ]
    return g.Graph({node.name: node for node in nodes}, "heatmaps", "pafs")


def write_frozen_graph(graph: g.Graph, path: Path, *, joined: bool = True) -> None:
    """Write the graph as a frozen graph of TensorFlow 1.

    Args:
        graph: Graph to write.
        path: Path of the `.pb` file.
        joined: Concatenate heatmaps and PAFs (in this order) to one output, as upstream does.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default() as scope:
        made: dict[str, Any] = {}
        for node in graph.nodes.values():
            made[node.name] = operator(v1, node, [made[i] for i in node.inputs])
        if joined:
            v1.concat([made[graph.heatmaps], made[graph.pafs]], axis=3, name="result")
        path.write_bytes(scope.as_graph_def().SerializeToString())


def operator(v1: Any, node: g.Node, inputs: list[Any]) -> Any:
    match node:
        case g.Input():
            return v1.placeholder("float32", (None, None, None, 3), name=node.name)
        case g.Affine():
            return v1.subtract(v1.multiply(inputs[0], node.scale[0]), -node.offset[0], name=node.name)
        case g.Conv(depthwise=True):
            padding = node.padding if isinstance(node.padding, str) else "SAME"
            return v1.nn.depthwise_conv2d_native(
                inputs[0],
                node.kernel,
                [1, *node.strides, 1],
                padding,
                dilations=[1, *node.dilations, 1],
                name=node.name,
            )
        case g.Conv():
            return v1.nn.conv2d(inputs[0], node.kernel, [1, *node.strides, 1], node.padding, name=node.name)
        case g.BatchNorm():
            mean, variance = ([], []) if node.is_training else (node.mean, node.variance)
            return v1.raw_ops.FusedBatchNorm(
                x=inputs[0], scale=node.gamma, offset=node.beta, mean=mean, variance=variance, epsilon=node.epsilon,
                is_training=node.is_training, name=node.name,
            )[0]  # fmt: skip
        case g.Activation():
            return {"relu": v1.nn.relu, "relu6": v1.nn.relu6, "elu": v1.nn.elu}[node.kind](inputs[0], name=node.name)
        case g.Add():
            return v1.add(*inputs, name=node.name)
        case g.Concat():
            return v1.concat(inputs, axis=3, name=node.name)
        case g.MaxPool():
            return v1.nn.max_pool2d(inputs[0], node.window, node.strides, "SAME", name=node.name)
        case g.ResizeLike():
            return v1.image.resize_bilinear(inputs[0], v1.shape(inputs[1])[1:3], name=node.name)
    raise TypeError(node)
