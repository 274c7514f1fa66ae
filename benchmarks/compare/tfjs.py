"""Convert a TensorFlow.js graph model to TFLite with a fixed input size, so that it can be compared.

    python -m edgepose.benchmarks.compare.tfjs movenet-multipose.json --input-size 320x256 -o movenet-320x256.tflite

The weights must be in one or more files beside the JSON file, as `tensorflowjs_converter` writes them. Fused operators
of TensorFlow.js are written as single operators again. The result computes in float32. Needs the extra `convert`.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...convert.exporters.tensorflow_quiet import import_tensorflow
from ...runtime.errors import EdgePoseError, InputError
from ...runtime.io import atomic
from ...runtime.io.read_file import read_text
from ...runtime.stderr import suppress_stderr

_DTYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_, "float16": np.float16, "uint8": np.uint8,
           "uint16": np.uint16}  # fmt: skip
_FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative"}
_ACTIVATIONS = ("Relu", "Relu6", "Elu")


def convert(model: Path, size: tuple[int, int]) -> bytes:
    """Convert a TensorFlow.js graph model with one image input.

    Args:
        model: The JSON file of the model.
        size: Width and height of the input in pixels.

    Returns:
        The TFLite flatbuffer.

    Raises:
        InputError: The file is not a TensorFlow.js graph model, or it contains something that is not supported.
        MissingExtraError: TensorFlow is not installed.
    """
    document = _read_document(model)
    tf = import_tensorflow()
    from google.protobuf import json_format

    try:
        weights = dict(_read_weights(model.parent, document["weightsManifest"]))
        nodes = list(_split_fused(document["modelTopology"]["node"]))
        graph = json_format.ParseDict(
            {"node": nodes, "versions": document["modelTopology"].get("versions", {})}, tf.compat.v1.GraphDef()
        )
        outputs = [entry["name"] for entry in document["signature"]["outputs"].values()]
        source = _prepare_nodes(graph, weights, size, tf)
        concrete = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), []).prune(source, outputs)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
        with suppress_stderr(show_on_error=False):
            return bytes(converter.convert())
    except EdgePoseError:
        raise
    except Exception as error:  # TensorFlow has many
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"{model}: cannot convert this TensorFlow.js graph model: {reason}") from None


def _read_document(path: Path) -> Any:
    try:
        document = json.loads(read_text(path))
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != "graph-model":
        raise InputError(f'{path}: expected a TensorFlow.js graph model (JSON with "format": "graph-model")')
    return document


def _read_weights(folder: Path, manifest: list[Any]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for group in manifest:
        content = b"".join(_read_part(folder, name) for name in group["paths"])
        start = 0
        for entry in group["weights"]:
            shape, quantization = tuple(entry["shape"]), entry.get("quantization")
            stored = np.dtype(_DTYPES[quantization["dtype"] if quantization else entry["dtype"]])
            if not all(type(side) is int and side >= 0 for side in shape):
                raise ValueError(f"expected the shape of {entry['name']} as whole numbers, got {shape}")
            count = math.prod(shape)
            end = start + count * stored.itemsize
            if end > len(content):
                raise ValueError(f"the weights end after {len(content)} bytes, in {entry['name']}")
            values = np.frombuffer(content, stored, count, start).reshape(shape)
            start = end
            if quantization and "scale" in quantization:
                values = values.astype(np.float32) * np.float32(quantization["scale"]) + np.float32(quantization["min"])
            yield entry["name"], values.astype(_DTYPES[entry["dtype"]])


def _read_part(folder: Path, name: str) -> bytes:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{path}: expected the weights in the folder of the JSON file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the weights: {error.strerror}") from None


def _split_fused(nodes: list[Any]) -> Iterator[Mapping[str, Any]]:
    """Replace each fused convolution by the convolution, the sum with the bias, and the activation."""
    for node in nodes:
        if node["op"] not in _FUSED:
            yield node
            continue
        attributes = dict(node["attr"])
        steps = [base64.b64decode(step).decode() for step in attributes.pop("fused_ops")["list"]["s"]]
        if steps[0] != "BiasAdd" or len(steps) > 2 or not set(steps[1:]) <= set(_ACTIVATIONS):
            raise ValueError(f"{node['name']}: expected a fused bias and ReLU, got {', '.join(steps)}")
        for name in ("num_args", "epsilon", "leakyrelu_alpha", "TArgs", "num_host_args", "user_ops"):
            attributes.pop(name, None)
        kind, dtype = _FUSED[node["op"]], {"T": attributes["T"]}
        if kind == "DepthwiseConv2dNative":
            attributes.pop("use_cudnn_on_gpu", None)
        image, weights, bias, *_ = node["input"]
        name = node["name"]
        names = [f"{name}/convolution", *(f"{name}/bias" for _ in steps[1:]), name]
        yield {"name": names[0], "op": kind, "input": [image, weights], "attr": attributes}
        yield {"name": names[1], "op": "BiasAdd", "input": [names[0], bias], "attr": dtype}
        if steps[1:]:
            yield {"name": name, "op": steps[1], "input": [names[1]], "attr": dtype}


def _prepare_nodes(graph: Any, weights: Mapping[str, Any], size: tuple[int, int], tf: Any) -> str:
    """Put the weights into the constants and the size into the input; return the name of the input tensor."""
    inputs = [node for node in graph.node if node.op == "Placeholder"]
    if len(inputs) != 1:
        raise ValueError(f"expected one input, got {len(inputs)}")
    shape = tf.TensorShape((1, size[1], size[0], 3))
    inputs[0].attr["shape"].shape.CopyFrom(shape.as_proto())
    for node in graph.node:
        node.device = ""
        if node.op == "Const":
            tensor = tf.make_tensor_proto(weights[node.name])
            node.attr["value"].tensor.CopyFrom(tensor)
            node.attr["dtype"].type = tensor.dtype
    return f"{inputs[0].name}:0"


def _parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and 32 <= int(width) <= 4096 and 32 <= int(height) <= 4096):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 320x256, got {text!r}")
    return int(width), int(height)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0 done, 2 an error."""
    parser = argparse.ArgumentParser(prog="python -m edgepose.benchmarks.compare.tfjs", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("model", type=Path, help="the JSON file of a TensorFlow.js graph model")
    parser.add_argument("--input-size", type=_parse_size, required=True, metavar="WxH", help="such as 320x256")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .tflite file to write")
    options = parser.parse_args(arguments)
    try:
        content = convert(options.model, options.input_size)
        with atomic.replace_file(options.output) as temporary:
            temporary.write_bytes(content)
    except EdgePoseError as error:
        print(f"tfjs: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: {len(content) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
