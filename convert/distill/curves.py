"""The curve of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...runtime.io import atomic


def plot(losses: Sequence[tuple[int, float]], path: Path) -> None:
    """Loss against views, as PNG. Does nothing before there are two points."""
    if len(losses) < 2:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*losses, strict=True))
    axes.set(xlabel="views", ylabel="loss (weighted square error of the maps, times 100)", title="Distillation")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    with atomic.atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
