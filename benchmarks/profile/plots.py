"""Plots of profiles: latency by stage, FPS and accuracy, time by number of people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...runtime.errors import MissingExtraError
from ...runtime.io import atomic
from ..pareto import find_front
from .results import Profile, Row

_COLORS = {"capture": "#90a4ae", "preprocess": "#ffb300", "inference": "#1565c0", "decode": "#d81b60"}


def import_pyplot() -> Any:
    """Import matplotlib's pyplot.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingExtraError("--plot", "plot", error) from None
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def write(path: Path, profiles: Sequence[Profile]) -> None:
    """Write a PNG with all plots that there is data for.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    plt = import_pyplot()
    measured = [(profile, row) for profile in profiles for row in profile.rows if row.latency_ms]
    rows = [row for _, row in measured]
    with_accuracy = [(_make_label(profiles, *entry), entry[1]) for entry in measured if entry[1].accuracy]
    with_people = [(_make_label(profiles, *entry), entry[1]) for entry in measured if entry[1].by_people]
    panels = 1 + bool(with_accuracy) + 2 * bool(with_people)
    columns = min(2, panels)
    height = max(4.5, 0.4 * len(rows) + 1)
    figure, axes = plt.subplots(
        -(-panels // columns), columns, figsize=(8 * columns, height * -(-panels // columns)), squeeze=False
    )
    for unused in axes.flat[panels:]:
        unused.set_visible(False)
    remaining = iter(axes.flat)
    _plot_stages(next(remaining), [(_make_label(profiles, *entry), entry[1]) for entry in measured])
    if with_accuracy:
        _plot_accuracy(next(remaining), with_accuracy)
    if with_people:
        _plot_people(next(remaining), with_people)
        _plot_stages_by_people(next(remaining), with_people[0])
    machines = " | ".join(dict.fromkeys(_describe_machine(profile) for profile in profiles))
    figure.suptitle(machines, fontsize=10)
    figure.tight_layout()
    with atomic.replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def _describe_machine(profile: Profile) -> str:
    return f"{profile.machine.name}, {profile.machine.cores} cores ({profile.machine.architecture}), {profile.input}"


def _make_label(profiles: Sequence[Profile], profile: Profile, row: Row) -> str:
    machine = f"\n{profile.machine.name}" if len({p.machine.name for p in profiles}) > 1 else ""
    estimate = "\nestimate" if row.estimate else ""
    return f"{row.label}{estimate or machine}"


def _plot_stages(axes: Any, rows: Sequence[tuple[str, Row]]) -> None:
    """Plot the latency of each row as a horizontal bar, stacked by stage."""
    names = [label for label, _ in rows]
    left = [0.0] * len(rows)
    for stage, color in _COLORS.items():
        widths = [row.stages_ms.get(stage, 0.0) for _, row in rows]
        axes.barh(range(len(rows)), widths, left=left, color=color, label=stage)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for position, ((_, row), end) in enumerate(zip(rows, left, strict=True)):
        axes.annotate(f" {row.fps:.3g} FPS", (end, position), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(left) * 1.2)
    axes.set_xlabel("median time per frame [ms]")
    axes.set_title("Latency by stage")
    axes.legend(fontsize=8)
    axes.grid(axis="x", alpha=0.3)


def _plot_accuracy(axes: Any, rows: Sequence[tuple[str, Row]]) -> None:
    """Plot accuracy over FPS, with a line through the rows that no other row beats in both."""
    points = [(row.fps, row.accuracy.ap if row.accuracy else 0.0, label) for label, row in rows]
    front = [(-cost, ap) for cost, ap in find_front([(-fps, ap) for fps, ap, _ in points])]
    axes.plot([fps for fps, _ in front], [ap for _, ap in front], "-", color="#1565c0", alpha=0.5, label="Pareto front")
    for fps, ap, label in points:
        best = (fps, ap) in front
        axes.plot(fps, ap, "o", color="#1565c0" if best else "#90a4ae")
        # Rotated, so that the labels of models with nearly the same accuracy do not overlap.
        axes.annotate(
            label, (fps, ap), fontsize=8, textcoords="offset points", xytext=(0, -5), ha="right", va="top", rotation=35
        )
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.35)
    axes.set_xlabel("FPS, end to end")
    axes.set_ylabel("COCO keypoint AP")
    axes.set_title("FPS and accuracy")
    axes.legend(fontsize=8, loc="lower left")
    axes.grid(alpha=0.3, which="both")


def _plot_people(axes: Any, rows: Sequence[tuple[str, Row]]) -> None:
    """Plot the time per frame over the number of people, and the time that one inference per person would take."""
    for label, row in rows:
        people = [point.people for point in row.by_people]
        total = [sum(point.stages_ms.values()) for point in row.by_people]
        (line,) = axes.plot(people, total, "o-", label=label.replace("\n", ", "), markersize=3)
        per_person = [point.people * point.stages_ms["inference"] for point in row.by_people]
        axes.plot(people, per_person, ":", color=line.get_color(), alpha=0.5)
    axes.plot([], [], ":", color="gray", label="with one inference per person (top-down)")
    axes.set_yscale("log")
    axes.set_xlabel("people in the image, 1280x960")
    axes.set_ylabel("time per frame [ms]")
    axes.set_title("Time by number of people")
    axes.legend(fontsize=7, ncols=2, loc="upper left")
    axes.grid(alpha=0.3, which="both")


def _plot_stages_by_people(axes: Any, entry: tuple[str, Row]) -> None:
    """Plot the stage times of one row over the number of people."""
    label, row = entry
    people = [point.people for point in row.by_people]
    for stage, color in _COLORS.items():
        if stage in row.by_people[0].stages_ms:
            times = [point.stages_ms[stage] for point in row.by_people]
            axes.plot(people, times, "o-", color=color, label=stage, markersize=3)
    axes.set_yscale("log")
    axes.set_xlabel("people in the image")
    axes.set_ylabel("time per frame [ms]")
    axes.set_title(f"Stage times: {label}".replace("\n", ", "), fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3, which="both")
