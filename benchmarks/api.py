"""Python API: measure models."""

from __future__ import annotations

from os import PathLike

from ..runtime.errors import ModelError
from ..runtime.model import registry
from ..runtime.model.interpreter import get_default_threads
from .profile.results import Row
from .profile.runner import MAX_DURATION_S, run_worker


def profile_model(
    model: str | PathLike[str] | None = None,
    *,
    threads: int | None = None,
    seconds: float = 5.0,
    source: str = "synthetic:3",
) -> Row:
    """Measure latency, FPS, stage times and memory of a model on this machine, in a separate process.

    >>> edgepose.profile_model("edgepose-small").fps

    Args:
        model: Path or name of a model. Default: `edgepose-tiny`.
        threads: Number of interpreter threads. Default: number of CPU cores, at most 4.
        seconds: Duration of the measurement in seconds, more than 0 and at most 3600.
        source: Input as for `edgepose profile --input`: image, folder, video, or `synthetic:N` for N people.

    Raises:
        ModelError: The model cannot be measured.
        ValueError: `seconds` is out of range.
    """
    if not 0 < seconds <= MAX_DURATION_S:
        raise ValueError(f"profile_model: expected seconds > 0 and <= {MAX_DURATION_S:.0f}, got {seconds:g}")
    path = registry.find_model_file(None if model is None else str(model))
    row = run_worker(path.stem, path, threads or get_default_threads(), seconds, source)
    if row.error:
        raise ModelError(row.error)
    return row
