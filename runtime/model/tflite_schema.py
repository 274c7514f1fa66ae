"""The classes of TFLite's FlatBuffers schema, from whichever installed package has them."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import MissingExtraError

IDENTIFIER = b"TFL3"
_MODULES = ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated")


def load_schema(purpose: str) -> Any:
    """Import the module with the schema classes (`ModelT`, `OperatorT`, ...).

    Args:
        purpose: What needs it, for the message.

    Raises:
        MissingExtraError: Neither LiteRT nor TensorFlow is installed: tflite-runtime has no schema classes.
    """
    missing: ImportError | None = None
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing = missing or error
    assert missing is not None
    raise MissingExtraError(purpose, "convert", missing)


def pack_model(model: Any) -> bytes:
    """Serialize a `ModelT` to the bytes of a .tflite file."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
