"""Check of the configuration inside a Keras file, before Keras builds the layers: no Python code of the file is run."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from ...runtime.errors import ModelError
from .limits import MAX_NODES

_MAX_CONFIG_BYTES = 1 << 26
_ALLOWED_MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "edgepose", "builtins")
_LAMBDA_ADVICE = "it holds Python code, which is not executed; replace it with layers, for example Rescaling"


def check_config(path: Path) -> None:
    """Check that a Keras model consists of layers of Keras.

    A file without a readable configuration is left to Keras, which reports it.

    Args:
        path: A `.keras` or `.h5` file.

    Raises:
        ModelError: The model has a Lambda layer or refers to a function or class outside Keras.
    """
    text = _read_config(path)
    if text is None:
        return
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return
    pending, count = [config], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > 100 * MAX_NODES:
            raise ModelError(f"{path}: the configuration of the Keras model has too many entries")
        if isinstance(value, dict):
            _check_entry(path, value)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _read_config(path: Path) -> bytes | str | None:
    """Return the configuration of the model as JSON; None if the file has none."""
    try:
        with path.open("rb") as file:
            is_archive = file.read(4) == b"PK\x03\x04"
        if is_archive:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
                    raise ModelError(f"{path}: the configuration of the Keras model is larger than 64 MiB")
                return archive.read("config.json")
        import h5py  # type: ignore[import-untyped]

        with h5py.File(path, "r") as stored:
            text = stored.attrs.get("model_config")
            return text if isinstance(text, bytes | str) else None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return None


def _check_entry(path: Path, entry: dict[str, Any]) -> None:
    kind, module = entry.get("class_name"), entry.get("module")
    details = entry.get("config")
    name = details.get("name") if isinstance(details, dict) else None
    if kind in ("Lambda", "__lambda__"):
        raise ModelError(f"{path}: cannot import the Lambda layer {name or ''!r}: {_LAMBDA_ADVICE}")
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        raise ModelError(
            f"{path}: cannot import the {kind} layer {name or ''!r} of Keras 2; export the model as a SavedModel with "
            "the TensorFlow version that wrote it"
        )
    if isinstance(module, str) and module.split(".")[0] and not _is_allowed(module):
        raise ModelError(
            f"{path}: the model refers to {kind or name!r} of the Python module {module!r}, which is not executed; "
            "expected layers of Keras"
        )


def _is_allowed(module: str) -> bool:
    return any(module == allowed or module.startswith(f"{allowed}.") for allowed in _ALLOWED_MODULES)
