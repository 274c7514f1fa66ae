"""Importer for SavedModels and Keras models: they are frozen, then imported as a frozen graph."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.stderr import suppress_stderr
from ..exporters.tensorflow_quiet import import_tensorflow
from ..ir import graph as g
from . import frozen_graph
from .keras_config import check_config
from .limits import check_file_size

_TRACED_SIZE = (256, 320)
"""Height and width with which a Keras model of any size is traced. All sizes inside are then constants."""
_DEFAULT_SIGNATURE = "serving_default"
_UNSAFE_OPS = {
    "PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "Save", "SaveSlices",
    "CreateSummaryFileWriter", "CreateSummaryDbWriter", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3",
}  # fmt: skip
"""Operators that run Python code, or read or write files, possibly while TensorFlow loads the SavedModel."""


def load_saved_model(
    folder: Path,
    *,
    heatmaps: str | None = None,
    pafs: str | None = None,
    signature: str | None = None,
    skeleton: Skeleton = COCO18,
    note: Callable[[str], None] = lambda text: None,
) -> g.Graph:
    """Read the network of a SavedModel.

    Args:
        folder: The folder of the SavedModel.
        heatmaps: As in `frozen_graph.load`, or the name of an output of the signature.
        pafs: As in `frozen_graph.load`, or the name of an output of the signature.
        signature: The name of the signature. Default: `serving_default`, or the only one.
        skeleton: As in `frozen_graph.load`.
        note: As in `frozen_graph.load`.

    Raises:
        ModelError: The folder is damaged or incomplete, there is no such signature, or an operator is not supported.
    """
    tf = import_tensorflow()
    _check_operators(folder)
    try:
        with suppress_stderr(show_on_error=False):
            loaded = tf.saved_model.load(str(folder))
        signatures = dict(loaded.signatures)
    except Exception as error:  # protobuf, the file system and TensorFlow raise different types
        if not (folder / "variables/variables.index").is_file():
            raise ModelError(f"{folder}: the subfolder `variables` is missing; copy the whole SavedModel") from None
        raise _make_read_error(folder, "SavedModel", error) from None
    function = signatures[_choose_signature(folder, list(signatures), signature)]
    return _import_function(folder, function, heatmaps, pafs, skeleton, note)


def _check_operators(folder: Path) -> None:
    """Check the sizes of the files, and that no operator runs code or accesses files, before TensorFlow loads them."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    for path in (folder / "saved_model.pb", *folder.glob("variables/*")):
        if path.is_file():
            check_file_size(path.stat().st_size)
    stored = saved_model_pb2.SavedModel()
    try:
        stored.ParseFromString((folder / "saved_model.pb").read_bytes())
    except (DecodeError, OSError):
        return  # TensorFlow reports it.
    for meta_graph in stored.meta_graphs:
        functions = (function.node_def for function in meta_graph.graph_def.library.function)
        for node in chain(meta_graph.graph_def.node, *functions):
            if node.op in _UNSAFE_OPS or _prints_to_file(node):
                raise ModelError(
                    f"{folder}: operator {node.op} of node {node.name!r} runs code or accesses files; it is not "
                    "executed; export the network without it"
                )


def _prints_to_file(node: Any) -> bool:
    return node.op == "PrintV2" and not node.attr["output_stream"].s.startswith((b"std", b"log("))


def _choose_signature(folder: Path, names: list[str], wanted: str | None) -> str:
    """Return the wanted signature, or the default: `serving_default`, or the only one."""
    listed = ", ".join(names) or "none"
    if wanted is not None:
        if wanted not in names:
            raise ModelError(f"{folder}: no signature {wanted!r}; found {listed}")
        return wanted
    if _DEFAULT_SIGNATURE in names:
        return _DEFAULT_SIGNATURE
    if len(names) != 1:
        advice = "choose one with --signature" if names else "export the model with a signature"
        raise ModelError(
            f"{folder}: expected a single signature or one named {_DEFAULT_SIGNATURE}; found {listed}; {advice}"
        )
    return names[0]


def load_keras_model(
    path: Path,
    *,
    heatmaps: str | None = None,
    pafs: str | None = None,
    skeleton: Skeleton = COCO18,
    note: Callable[[str], None] = lambda text: None,
) -> g.Graph:
    """Read the network of a `.keras` or `.h5` file.

    Args:
        path: The file.
        heatmaps: As in `frozen_graph.load`, or the name of an output of the model.
        pafs: As in `frozen_graph.load`, or the name of an output of the model.
        skeleton: As in `frozen_graph.load`.
        note: As in `frozen_graph.load`.

    Raises:
        ModelError: The file is damaged, has only weights, has not one image as input, has a layer with Python code, or
            an operator is not supported.
    """
    tf = import_tensorflow()
    from ..exporters import keras  # noqa: F401  registers the custom layers of exported models

    check_config(path)
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
    graph = _import_function(path, _trace_model(tf, path, model), heatmaps, pafs, skeleton, note)
    if None in model.inputs[0].shape[1:]:
        graph = graph.substitute({graph.input.name: replace(graph.input, size=None)})
    return graph


def _trace_model(tf: Any, path: Path, model: Any) -> Any:
    """Return the function of a Keras model for one image."""
    inputs = model.inputs or []
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(i.shape)) for i in inputs) or "none"
        raise ModelError(f"{path}: expected one input image (batch, height, width, 3), got {shapes}")
    channels_first = inputs[0].shape[3] != 3 and inputs[0].shape[1] == 3
    default = (1, 3, *_TRACED_SIZE) if channels_first else (1, *_TRACED_SIZE, 3)
    sides = zip(inputs[0].shape[1:], default[1:], strict=True)
    shape = (1, *(default_side if side is None else side for side, default_side in sides))
    names = list(getattr(model, "output_names", []))

    def run(image: Any) -> Any:
        results = model(image, training=False)
        if isinstance(results, (list, tuple)) and len(results) == len(set(names)):
            return dict(zip(names, results, strict=True))
        return results

    dtype = tf.as_dtype(inputs[0].dtype)
    try:
        return tf.function(run, autograph=False).get_concrete_function(tf.TensorSpec(shape, dtype, name="image"))
    except Exception as error:  # layers raise any type if they cannot be traced
        raise _make_read_error(path, "Keras model", error) from None


def _import_function(
    path: Path,
    function: Any,
    heatmaps: str | None,
    pafs: str | None,
    skeleton: Skeleton,
    note: Callable[[str], None],
) -> g.Graph:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        with suppress_stderr(show_on_error=False):
            frozen = convert_variables_to_constants_v2(function)
    except Exception as error:  # TensorFlow raises different types
        raise _make_read_error(path, "network", error) from None
    results = [tensor.name for tensor in frozen.outputs]
    labels = _list_output_names(function)
    tensors = dict(zip(labels, results, strict=True)) if len(labels) == len(results) else {}
    names = (heatmaps if heatmaps is None else tensors.get(heatmaps, heatmaps),
             pafs if pafs is None else tensors.get(pafs, pafs))  # fmt: skip
    return frozen_graph.import_graph_def(path, frozen.graph.as_graph_def(), results, *names, skeleton, note)


def _list_output_names(function: Any) -> list[str]:
    """Return the names of a function's outputs in the order of its tensors."""
    structure = function.structured_outputs
    return sorted(structure) if isinstance(structure, dict) else []


def _make_read_error(path: Path, kind: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ModelError(f"{path}: cannot read the {kind}: {reason}")
