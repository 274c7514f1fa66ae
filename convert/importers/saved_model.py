"""Reads SavedModels and Keras models: variables become constants, and the frozen graph is imported."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ...runtime.errors import ModelError
from ..exporters.tensorflow_quiet import import_tensorflow
from ..ir import graph as g
from . import frozen_graph


def saved_model(folder: Path, *, heatmaps: str | None = None, pafs: str | None = None) -> g.Graph:
    """The network of a SavedModel's only signature, or of `serving_default`.

    Raises ModelError where the folder is damaged or an operator has no counterpart here.
    """
    tf = import_tensorflow()
    try:
        loaded = tf.saved_model.load(str(folder))
        signatures = dict(loaded.signatures)
    except Exception as error:  # whatever the loader meets: protobuf, the file system, TensorFlow's own checks
        if not (folder / "variables/variables.index").is_file():
            raise ModelError(f"{folder}: the folder variables is missing; copy the whole folder") from None
        raise _damaged(folder, "SavedModel", error) from None
    if len(signatures) != 1 and "serving_default" not in signatures:
        names = ", ".join(signatures) or "none"
        raise ModelError(f"{folder}: expected one signature or serving_default, found {names}")
    function = signatures.get("serving_default") or next(iter(signatures.values()))
    return _imported(folder, function, heatmaps, pafs)


def keras_file(path: Path, *, heatmaps: str | None = None, pafs: str | None = None) -> g.Graph:
    """The network of a `.keras` or `.h5` file. Raises ModelError as `saved_model` does."""
    tf = import_tensorflow()
    from ..exporters import keras  # noqa: F401  registers the layers of models that were made by us

    try:
        # Keras chooses its reader by the suffix; people rename files.
        with path.open("rb") as file:
            suffix = ".keras" if file.read(4) == b"PK\x03\x04" else ".h5"
        if path.name.endswith(suffix):
            model = tf.keras.models.load_model(path, compile=False)
        else:
            with tempfile.TemporaryDirectory() as folder:
                link = Path(folder) / f"model{suffix}"
                link.symlink_to(path.absolute())
                model = tf.keras.models.load_model(link, compile=False)
    except Exception as error:  # as above
        if "No model config found" in str(error):
            raise ModelError(f"{path}: holds weights alone; name it .weights.h5 and add --network NAME") from None
        raise _damaged(path, "Keras model", error) from None
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(i.shape)) for i in model.inputs)
        raise ModelError(f"{path}: expected one image (batch, height, width, 3) as input, got {shapes}")
    shape = (1, *model.inputs[0].shape[1:])
    function = tf.function(lambda image: model(image, training=False))
    return _imported(
        path, function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image")), heatmaps, pafs
    )


def _imported(path: Path, function: Any, heatmaps: str | None, pafs: str | None) -> g.Graph:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function)
    results = [tensor.name for tensor in frozen.outputs]
    return frozen_graph.from_definition(path, frozen.graph.as_graph_def(), results, heatmaps, pafs)


def _damaged(path: Path, kind: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ModelError(f"{path}: cannot read the {kind}: {reason}")
