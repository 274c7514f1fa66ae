"""Profiles from Python."""

from __future__ import annotations

from os import PathLike

from ..runtime.errors import ModelError
from ..runtime.model import registry
from ..runtime.model.interpreter import default_threads
from .profile.results import Row
from .profile.runner import MAX_SECONDS, run_worker


def profile_model(
    model: str | PathLike[str] | None = None,
    *,
    threads: int | None = None,
    seconds: float = 5.0,
    source: str = "synthetic:3",
) -> Row:
    """Measure a model on this machine, in a process of its own: latency of each stage, FPS, memory.

    >>> edgepose.profile_model("edgepose-small").fps

    Args:
        model: The path or name of a model; None is `edgepose-tiny`.
        threads: Threads of the interpreter; default: cores, at most four.
        seconds: How long each stage is measured.
        source: What is looked at: `synthetic:N` or images, as for `edgepose profile --input`.

    Raises:
        ModelError: The model cannot be measured.
        ValueError: `seconds` is out of range.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"profile_model: expected seconds above 0 and at most {MAX_SECONDS:.0f}, got {seconds:g}")
    path = registry.find_tflite(None if model is None else str(model))
    row = run_worker(path.stem, path, threads or default_threads(), seconds, source)
    if row.error:
        raise ModelError(row.error)
    return row
