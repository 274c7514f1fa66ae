"""Plot of the training loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...runtime.io import atomic


def plot_loss(losses: Sequence[tuple[int, float]], path: Path) -> None:
    """Plot the loss against the number of views as PNG; do nothing if there are fewer than two points.

    Args:
        losses: Pairs of views and mean loss.
        path: File to write.
    """
    if len(losses) < 2:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*losses, strict=True))
    axes.set(xlabel="views", ylabel="loss (weighted mean squared error of the maps x 100)", title="Distillation")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    with atomic.replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
