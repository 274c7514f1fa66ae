"""Importer for SavedModels and Keras models: they are frozen, then imported as a frozen graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18, Skeleton
from ..exporters.tensorflow_quiet import import_tensorflow
from ..ir import graph as g
from . import frozen_graph


def load_saved_model(
    folder: Path, *, heatmaps: str | None = None, pafs: str | None = None, skeleton: Skeleton = COCO18
) -> g.Graph:
    """Read the network of a SavedModel.

    Args:
        folder: The folder of the SavedModel. It has one signature, or one with the name `serving_default`.
        heatmaps: As in `frozen_graph.load`.
        pafs: As in `frozen_graph.load`.
        skeleton: As in `frozen_graph.load`.

    Raises:
        ModelError: The folder is damaged or incomplete, or an operator is not supported.
    """
    tf = import_tensorflow()
    try:
        loaded = tf.saved_model.load(str(folder))
        signatures = dict(loaded.signatures)
    except Exception as error:  # protobuf, the file system and TensorFlow raise different types
        if not (folder / "variables/variables.index").is_file():
            raise ModelError(f"{folder}: the subfolder `variables` is missing; copy the whole SavedModel") from None
        raise _make_read_error(folder, "SavedModel", error) from None
    if len(signatures) != 1 and "serving_default" not in signatures:
        names = ", ".join(signatures) or "none"
        raise ModelError(f"{folder}: expected a single signature or one named serving_default; found {names}")
    function = signatures.get("serving_default") or next(iter(signatures.values()))
    return _import_function(folder, function, heatmaps, pafs, skeleton)


def load_keras_model(
    path: Path, *, heatmaps: str | None = None, pafs: str | None = None, skeleton: Skeleton = COCO18
) -> g.Graph:
    """Read the network of a `.keras` or `.h5` file.

    Args:
        path: The file.
        heatmaps: As in `frozen_graph.load`.
        pafs: As in `frozen_graph.load`.
        skeleton: As in `frozen_graph.load`.

    Raises:
        ModelError: The file is damaged, has only weights, has not one image as input, or an operator is not supported.
    """
    tf = import_tensorflow()
    from ..exporters import keras  # noqa: F401  registers the custom layers of exported models

    try:
        # Keras chooses the reader by the suffix, but files get renamed.
        with path.open("rb") as file:
            suffix = ".keras" if file.read(4) == b"PK\x03\x04" else ".h5"
        if path.name.endswith(suffix):
            model = tf.keras.models.load_model(path, compile=False)
        else:
            with tempfile.TemporaryDirectory() as folder:
                link = Path(folder) / f"model{suffix}"
                link.symlink_to(path.absolute())
                model = tf.keras.models.load_model(link, compile=False)
    except Exception as error:  # h5py, Keras and the file system raise different types
        if "No model config found" in str(error):
            raise ModelError(
                f"{path}: the file has only weights, no network; rename it to .weights.h5 and add --network NAME"
            ) from None
        raise _make_read_error(path, "Keras model", error) from None
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(i.shape)) for i in model.inputs)
        raise ModelError(f"{path}: expected one input image (batch, height, width, 3), got {shapes}")
    shape = (1, *model.inputs[0].shape[1:])
    function = tf.function(lambda image: model(image, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image"))
    return _import_function(path, concrete, heatmaps, pafs, skeleton)


def _import_function(path: Path, function: Any, heatmaps: str | None, pafs: str | None, skeleton: Skeleton) -> g.Graph:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function)
    results = [tensor.name for tensor in frozen.outputs]
    return frozen_graph.import_graph_def(path, frozen.graph.as_graph_def(), results, heatmaps, pafs, skeleton)


def _make_read_error(path: Path, kind: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ModelError(f"{path}: cannot read the {kind}: {reason}")
