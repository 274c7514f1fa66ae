"""Reads TensorFlow checkpoints, those of tf-pose-estimation's training above all."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...runtime.errors import ModelError
from ..exporters.tensorflow_quiet import import_tensorflow
from .limits import Budget
from .weights import Arrays


def prefix(path: Path) -> Path | None:
    """The prefix of a checkpoint's files, where `path` is that or one of the files; else None."""
    bare = path.with_name(re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path.name))
    return bare if bare.with_name(bare.name + ".index").is_file() else None


def files(prefix: Path) -> list[Path]:
    """The files that hold a checkpoint's variables."""
    parts = re.compile(re.escape(prefix.name) + r"\.(index|data-\d{5}-of-\d{5})")
    return sorted(path for path in prefix.parent.iterdir() if parts.fullmatch(path.name))


def load(prefix: Path) -> Arrays:
    """The variables by name. Raises ModelError where a file is missing or damaged, or asks for too much memory."""
    tf = import_tensorflow()
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        names = reader.get_variable_to_shape_map()
        budget = Budget()
        for name, shape in names.items():
            # The index says what would be allocated.
            budget.count()
            budget.take(shape, f"{prefix}: {name}")
        found = {name: reader.get_tensor(name) for name in sorted(names)}
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{prefix}: damaged or incomplete checkpoint: {reason}") from None
    return {name: np.asarray(array) for name, array in found.items()}
