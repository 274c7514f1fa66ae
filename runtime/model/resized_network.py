"""Adaptation of a network to another input size: the sizes that its resize operators have as constants."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ..errors import ModelError
from .tflite_schema import load_schema, pack_model

_DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, KeyError, OverflowError, MemoryError)


def scale_resize_operators(content: bytes, old_size: tuple[int, int], new_size: tuple[int, int]) -> bytes:
    """Return a network whose resize operators fit another input size.

    The interpreter computes all other shapes again if its input is resized.

    Args:
        content: The TFLite flatbuffer.
        old_size: Width and height of the input in the file.
        new_size: Width and height that the input is resized to.

    Raises:
        ModelError: The flatbuffer is damaged, or an operator would need a fraction of a cell.
        MissingExtraError: Neither LiteRT nor TensorFlow is installed.
    """
    schema = load_schema("an input size other than that of the model")
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        for graph in model.subgraphs:
            resizes = (one for one in graph.operators if _is_resize(schema, model.operatorCodes[one.opcodeIndex]))
            for number in {int(resize.inputs[1]) for resize in resizes}:
                _scale_constant(model, graph.tensors[number], old_size, new_size)
    except _DAMAGE as error:
        raise ModelError(f"the flatbuffer cannot be read: {error}") from None
    return pack_model(model)


def _is_resize(schema: Any, code: Any) -> bool:
    kinds = (schema.BuiltinOperator.RESIZE_BILINEAR, schema.BuiltinOperator.RESIZE_NEAREST_NEIGHBOR)
    return max(code.builtinCode, code.deprecatedBuiltinCode) in kinds


def _scale_constant(model: Any, tensor: Any, old_size: tuple[int, int], new_size: tuple[int, int]) -> None:
    """Scale a constant (height, width). Operators can share a buffer, so a tensor gets a new one."""
    data = model.buffers[tensor.buffer].data
    if data is None:
        return  # the size is computed in the network
    height, width = (int(side) for side in np.frombuffer(bytes(data), np.int32))
    sides = [(height, old_size[1], new_size[1]), (width, old_size[0], new_size[0])]
    if any(side * new % old for side, old, new in sides):
        raise ModelError(
            f"the network cannot run at {new_size[0]}x{new_size[1]}: it resizes a feature map to {width}x{height}"
        )
    scaled = np.array([side * new // old for side, old, new in sides], np.int32)
    buffer = type(model.buffers[0])()
    buffer.data = np.frombuffer(scaled.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
