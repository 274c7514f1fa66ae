"""Import of TensorFlow without its log messages on stderr. TensorFlow is imported only when it is needed."""

from __future__ import annotations

import os
from typing import Any

from ...runtime.errors import MissingExtraError
from ...runtime.stderr import suppress_stderr


def import_tensorflow() -> Any:
    """Import TensorFlow for the CPU only, with its log level set to errors.

    Raises:
        MissingExtraError: TensorFlow is not installed; it is in the extra `convert`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        with suppress_stderr(show_on_error=False):
            import tensorflow as tf
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise MissingExtraError("edgepose convert", "convert", error) from None
    tf.get_logger().setLevel("ERROR")
    return tf
