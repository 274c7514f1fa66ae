"""Writing of graphs as ONNX files, and their outputs in ONNX's reference evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepose.convert.ir import graph as g

IR_VERSION = 4
"""Oldest version in which initializers need not be inputs."""


class OnnxWriter:
    """Writer of one graph. Values have the names of the graph's nodes."""

    def __init__(self, opset: int) -> None:
        from onnx import helper, numpy_helper

        self.helper, self.numpy_helper = helper, numpy_helper
        self.opset = opset
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def add_constant(self, name: str, value: Any) -> str:
        """Add an initializer."""
        self.initializers.append(self.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add an operator with one output."""
        self.nodes.append(self.helper.make_node(kind, inputs, [output], name=f"node/{output}", **attributes))
        return output

    def add_graph(self, graph: g.Graph) -> None:
        """Add all nodes of a graph, except its input."""
        for node in graph.nodes.values():
            self._add_node(node)

    def finish(
        self, shape: tuple[Any, ...], outputs: list[str], *, image: str = "image", listed_initializers: bool = False
    ) -> Any:
        """Return the model.

        Args:
            shape: The shape of the input image.
            outputs: The names of the outputs.
            image: The name of the input image.
            listed_initializers: List initializers also as inputs, as exporters did before IR version 4.
        """
        h = self.helper
        inputs = [h.make_tensor_value_info(image, 1, shape)]
        if listed_initializers:
            inputs += [h.make_tensor_value_info(i.name, i.data_type, list(i.dims)) for i in self.initializers]
        results = [h.make_tensor_value_info(name, 1, None) for name in outputs]
        graph = h.make_graph(self.nodes, "net", inputs, results, self.initializers)
        opsets = [h.make_opsetid("", self.opset)]
        return h.make_model(graph, opset_imports=opsets, ir_version=3 if listed_initializers else IR_VERSION)

    def _add_node(self, node: g.Node) -> None:
        name, inputs = node.name, list(node.inputs)
        match node:
            case g.Input():
                return
            case g.Conv():
                self._add_conv(node)
            case g.BatchNorm():
                rows = {"gamma": node.gamma, "beta": node.beta, "mean": node.mean, "variance": node.variance}
                names = [self.add_constant(f"{name}/{row}", value) for row, value in rows.items()]
                self.add("BatchNormalization", [*inputs, *names], name, epsilon=node.epsilon)
            case g.Affine():
                scale = self.add_constant(f"{name}/scale", node.scale.reshape(1, -1, 1, 1))
                offset = self.add_constant(f"{name}/offset", node.offset.reshape(-1, 1, 1))
                self.add("Mul", [*inputs, scale], f"{name}/product")
                self.add("Add", [f"{name}/product", offset], name)
            case g.Activation(kind="relu6"):
                self._add_relu6(name, inputs[0])
            case g.Activation():
                self.add({"relu": "Relu", "elu": "Elu"}[node.kind], inputs, name)
            case g.Add():
                self.add("Add", inputs, name)
            case g.Concat():
                self.add("Concat", inputs, name, axis=1)
            case g.MaxPool():
                padding = _format_padding(node.padding)
                self.add("MaxPool", inputs, name, kernel_shape=node.window, strides=node.strides, **padding)
            case g.ResizeLike():
                self._add_resize(node)
            case _:
                raise TypeError(node)

    def _add_conv(self, node: g.Conv) -> None:
        rows, columns, inside, outside = node.kernel.shape
        if node.depthwise:
            kernel = node.kernel.transpose(2, 3, 0, 1).reshape(inside * outside, 1, rows, columns)
        else:
            kernel = node.kernel.transpose(3, 2, 0, 1)
        inputs = [*node.inputs, self.add_constant(f"{node.name}/kernel", kernel)]
        if node.bias is not None:
            inputs.append(self.add_constant(f"{node.name}/bias", node.bias))
        self.add(
            "Conv", inputs, node.name, kernel_shape=[rows, columns], strides=node.strides, dilations=node.dilations,
            group=inside if node.depthwise else 1, **_format_padding(node.padding),
        )  # fmt: skip

    def _add_relu6(self, name: str, source: str) -> None:
        if self.opset < 11:
            self.add("Clip", [source], name, min=0.0, max=6.0)
            return
        bounds = [self.add_constant(f"{name}/{i}", np.float32(i)) for i in (0, 6)]
        self.add("Clip", [source, *bounds], name)

    def _add_resize(self, node: g.ResizeLike) -> None:
        """Resize to the size that Shape, Slice and Concat compute from another map; before opset 11, to scales."""
        source, like = node.inputs
        name = node.name
        if self.opset < 11:
            self.add("Shape", [source], f"{name}/from")
            self.add("Shape", [like], f"{name}/to")
            self.add("Cast", [f"{name}/from"], f"{name}/a", to=1)
            self.add("Cast", [f"{name}/to"], f"{name}/b", to=1)
            self.add("Div", [f"{name}/b", f"{name}/a"], f"{name}/ratio")
            first = self.add_constant(f"{name}/ones", np.ones(2, np.float32))
            bounds = [self.add_constant(f"{name}/{i}", np.array([i])) for i in (2, 4)]
            if self.opset < 10:
                self.add("Slice", [f"{name}/ratio"], f"{name}/sides", starts=[2], ends=[4])
            else:
                self.add("Slice", [f"{name}/ratio", *bounds], f"{name}/sides")
            self.add("Concat", [first, f"{name}/sides"], f"{name}/scales", axis=0)
            self.add("Upsample" if self.opset < 10 else "Resize", [source, f"{name}/scales"], name, mode="linear")
            return
        for kind, other, start, end in (("batch", source, 0, 2), ("size", like, 2, 4)):
            self.add("Shape", [other], f"{name}/{kind}/shape")
            bounds = [self.add_constant(f"{name}/{kind}/{i}", np.array([i])) for i in (start, end)]
            self.add("Slice", [f"{name}/{kind}/shape", *bounds], f"{name}/{kind}")
        self.add("Concat", [f"{name}/batch", f"{name}/size"], f"{name}/sizes", axis=0)
        mode = "half_pixel" if node.half_pixel_centers else "asymmetric"
        self.add("Resize", [source, "", "", f"{name}/sizes"], name, mode="linear", coordinate_transformation_mode=mode)


def _format_padding(padding: g.Padding) -> dict[str, Any]:
    if padding == "SAME":
        return {"auto_pad": "SAME_UPPER"}
    if isinstance(padding, str):
        return {"auto_pad": padding}
    (top, bottom), (left, right) = padding
    return {"pads": [top, left, bottom, right]}


def write_onnx(graph: g.Graph, path: Path, opset: int = 13, shape: tuple[Any, ...] = (1, 3, "h", "w")) -> Any:
    """Write a graph as an ONNX file and return the model."""
    writer = OnnxWriter(opset)
    writer.add_graph(graph)
    model = writer.finish(shape, [graph.heatmaps, graph.pafs], image=graph.input.name)
    path.write_bytes(model.SerializeToString())
    return model


def run_reference(model: Any, images: np.ndarray, image: str = "image") -> list[np.ndarray]:
    """Return the outputs of a model for images (batch, height, width, 3), in the same order of axes."""
    from onnx.reference import ReferenceEvaluator

    # Its sigmoid computes exp of large values and does not use the result.
    with np.errstate(over="ignore"):
        results = ReferenceEvaluator(model).run(None, {image: images.transpose(0, 3, 1, 2)})
    return [result.transpose(0, 2, 3, 1) for result in results]
