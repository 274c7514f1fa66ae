"""Importer for TensorFlow checkpoints, such as those of the training code of tf-pose-estimation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...runtime.errors import ModelError
from ..exporters.tensorflow_quiet import import_tensorflow
from .limits import ImportBudget
from .weights import Arrays


def find_prefix(path: Path) -> Path | None:
    """Return the prefix of a checkpoint if `path` is the prefix or one of the checkpoint's files, otherwise None."""
    candidate = path.with_name(re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path.name))
    return candidate if candidate.with_name(candidate.name + ".index").is_file() else None


def list_files(prefix: Path) -> list[Path]:
    """Return the files with the variables of a checkpoint, sorted by name."""
    pattern = re.compile(re.escape(prefix.name) + r"\.(index|data-\d{5}-of-\d{5})")
    return sorted(path for path in prefix.parent.iterdir() if pattern.fullmatch(path.name))


def load(prefix: Path) -> Arrays:
    """Read the variables of a checkpoint, by name.

    Raises:
        ModelError: A file is missing or damaged, or the variables are larger than the limits of `limits`.
    """
    tf = import_tensorflow()
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        budget = ImportBudget()
        # The shapes in the index are checked before any array is allocated.
        for name, shape in shapes.items():
            budget.add_item()
            budget.add_array(shape, f"{prefix}: {name}")
        arrays = {name: reader.get_tensor(name) for name in sorted(shapes)}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{prefix}: damaged or incomplete checkpoint: {reason}") from None
    return {name: np.asarray(array) for name, array in arrays.items()}
