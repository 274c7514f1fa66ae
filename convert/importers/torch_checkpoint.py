"""Importer for PyTorch checkpoints (`.pth`, `.pt`) of lightweight-human-pose-estimation.pytorch.

PyTorch reads the file with `weights_only=True`, so that no code in it runs. The tensors are assigned by name to the
definition `lightweight_pytorch`: `model.1.0.weight` is the kernel of the convolution `model.1.0`, and `model.1.1` is
the batch normalization after it.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import MissingExtraError, ModelError
from ..ir import graph as g
from ..networks import NetworkDefinition, Variable
from ..networks.lightweight_pytorch import MAX_REFINEMENT_STAGES, define_lightweight_pytorch
from .limits import ImportBudget, check_file_size
from .weights import Arrays

NETWORK = "lightweight_pytorch"
_ACCEPTED_NETWORKS = (None, "lightweight", NETWORK)
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Keys under which training code stores the weights in a checkpoint."""
_ADVICE = "expected a plain state_dict of tensors, saved with torch.save(net.state_dict(), ...)"
_NORM_ATTRIBUTES = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
_REFINEMENT_STAGE = re.compile(r"refinement_stages\.(\d{1,3})\.")


def load(path: Path, network: str | None) -> tuple[NetworkDefinition, Arrays]:
    """Read the weights of a checkpoint.

    Args:
        path: The checkpoint.
        network: The name of the network that the user gave, if any.

    Returns:
        The definition with as many stages as the checkpoint has, and the weights by the names of its variables.

    Raises:
        ModelError: The file is damaged, has anything other than tensors by name, or belongs to another network.
        MissingExtraError: PyTorch is not installed.
    """
    if network not in _ACCEPTED_NETWORKS:
        raise ModelError(
            f"{path}: expected --network {NETWORK} for a PyTorch checkpoint, got {network}; export other networks "
            "with torch.onnx.export and convert the .onnx file"
        )
    tensors = _read_arrays(path)
    definition = define_lightweight_pytorch(NETWORK, _count_refinement_stages(path, tensors))
    return definition, _rename(path, definition, tensors)


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("a PyTorch checkpoint", "train", error) from None
    return torch


def _read_arrays(path: Path) -> dict[str, Any]:
    """Read all tensors as arrays by name, without the prefix `module.` of DataParallel."""
    budget = ImportBudget()
    arrays: dict[str, Any] = {}
    for name, tensor in _find_state(path, _load_checkpoint(path)).items():
        budget.add_item()
        if not isinstance(name, str) or not hasattr(tensor, "shape"):
            raise ModelError(f"{path}: {str(name)[:60]!r} is not a tensor; {_ADVICE}")
        if name.endswith("num_batches_tracked"):
            continue
        # A tensor can be a view that repeats a small storage, so its shape is checked before it is copied.
        budget.add_array(tensor.shape, f"{path}: {name[:80]}")
        try:
            array = tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
            arrays[name.removeprefix("module.")] = array.numpy()
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ModelError(f"{path}: {name[:80]} is not a dense tensor: {_shorten(error)}") from None
    return arrays


def _load_checkpoint(path: Path) -> Any:
    torch = _import_torch()
    try:
        check_file_size(path.stat().st_size)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_file_size(sum(entry.file_size for entry in archive.infolist()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except MemoryError:
        raise ModelError(f"{path}: not enough memory for its tensors") from None
    except Exception as error:  # a damaged archive or pickle can raise nearly any type
        found = re.search(r"GLOBAL ([\w.]{1,80})", str(error))
        if found is not None:
            raise ModelError(f"{path}: refused, because its pickle uses {found[1]}; {_ADVICE}") from None
        raise ModelError(f"{path}: damaged PyTorch checkpoint: {_shorten(error)}") from None


def _find_state(path: Path, content: Any) -> Mapping[Any, Any]:
    """Return the tensors by name: the content itself, or the part with the weights."""
    if isinstance(content, Mapping):
        content = next((content[key] for key in _STATE_KEYS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path}: the checkpoint has {type(content).__name__[:40]}; {_ADVICE}")
    return content


def _count_refinement_stages(path: Path, tensors: Arrays) -> int:
    if "cpm.align.0.weight" not in tensors or "initial_stage.trunk.0.0.weight" not in tensors:
        names = ", ".join(name[:60] for name in list(tensors)[:3])
        raise ModelError(
            f"{path}: expected the weights of lightweight-human-pose-estimation.pytorch (cpm.align.0.weight, ...), "
            f"found {names}; export other networks with torch.onnx.export and convert the .onnx file"
        )
    numbers = {int(match[1]) for name in tensors if (match := _REFINEMENT_STAGE.match(name))}
    count = max(numbers, default=-1) + 1
    if count > MAX_REFINEMENT_STAGES:
        raise ModelError(f"{path}: expected at most {MAX_REFINEMENT_STAGES} refinement stages, got {count}")
    return count


def _rename(path: Path, definition: NetworkDefinition, tensors: dict[str, Any]) -> Arrays:
    """Give the arrays the names and the axis order of the definition's variables. Other arrays keep their names."""
    rest = dict(tensors)
    arrays: dict[str, Any] = {}
    for variable in definition.variables:
        key = _get_key(variable)
        if key in rest:
            depthwise = getattr(definition.graph.nodes[variable.node], "depthwise", False)
            arrays[variable.name] = _reorder_axes(rest.pop(key), variable, depthwise)
    for norm in definition.graph.find_nodes(g.BatchNorm):
        # A convolution with a bias before a batch normalization: the bias only shifts the mean.
        scope, mean = norm.name.removesuffix("/BatchNorm"), f"{norm.name}/moving_mean"
        if f"{scope}.bias" in rest and mean in arrays:
            bias = rest.pop(f"{scope}.bias")
            if bias.shape != arrays[mean].shape:
                raise ModelError(
                    f"{path}: {scope}.bias has the wrong shape: expected {arrays[mean].shape}, got {bias.shape}"
                )
            arrays[mean] = arrays[mean] - bias
    return {**arrays, **rest}


def _get_key(variable: Variable) -> str:
    """Return the name of a variable in the checkpoint."""
    scope = variable.name.rpartition("/")[0].removesuffix("/BatchNorm")
    if variable.attribute in ("kernel", "bias"):
        return f"{scope}.{'weight' if variable.attribute == 'kernel' else 'bias'}"
    parent, _, number = scope.rpartition(".")
    return f"{parent}.{int(number) + 1}.{_NORM_ATTRIBUTES[variable.attribute]}"


def _reorder_axes(array: Any, variable: Variable, depthwise: bool) -> Any:
    """Convert a kernel from (out, in, height, width) to the order of the graph."""
    if variable.attribute != "kernel" or array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)))


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
