"""Export of a float graph to a TFLite flatbuffer."""

from __future__ import annotations

from typing import Any

from ...runtime.model.manifest import Precision
from ...runtime.stderr import suppress_stderr
from ..ir import graph as g
from . import tensorflow
from .tensorflow_quiet import import_tensorflow

FLOAT_PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "dynamic")
"""float16: weights of half the size; dynamic: int8 weights, activations quantized by the interpreter at run time."""


def to_tflite(graph: g.Graph, width: int, height: int, precision: Precision) -> bytes:
    """Convert a graph to a TFLite flatbuffer.

    The model has a float32 input (1, height, width, 3) and the outputs `heatmaps` and `pafs`.

    Args:
        graph: The network.
        width: Input width in pixels.
        height: Input height in pixels.
        precision: One of `FLOAT_PRECISIONS`.

    Raises:
        ValueError: The precision is not one of `FLOAT_PRECISIONS`.
        MissingExtraError: TensorFlow is not installed.
    """
    if precision not in FLOAT_PRECISIONS:
        raise ValueError(f"expected a precision among {', '.join(FLOAT_PRECISIONS)}, got {precision!r}")
    tf = import_tensorflow()

    def network(image: Any) -> dict[str, Any]:
        results = tensorflow.run_graph(graph, image)
        return {
            "heatmaps": tf.identity(results[graph.heatmaps], name="heatmaps"),
            "pafs": tf.identity(results[graph.pafs], name="pafs"),
        }

    signature = tf.TensorSpec((1, height, width, 3), tf.float32, name="image")
    module = tf.Module()
    module.network = tf.function(network, input_signature=[signature], autograph=False)
    with suppress_stderr(show_on_error=True):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([module.network.get_concrete_function()], module)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())
