"""Plot of a comparison: accuracy against time and against computation, each with its Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ...runtime.errors import InputError
from ...runtime.io import atomic
from ..pareto import find_front
from ..profile.plots import import_pyplot
from .results import Comparison, Row

_WIDTH_IN, _PANEL_HEIGHT_IN, _DPI = 5.0, 4.8, 160
"""Narrow, with one panel below the other: it must be readable on a phone."""
_COLORS = ("#1565c0", "#6d4c41", "#d81b60", "#2e7d32", "#f9a825")
_MARKERS = ("o", "s", "^", "D", "v")
_LABEL_SIZE = 7.5
_MARKER_PX, _LINE_PX, _LINE_STEPS = 8.0, 2.0, 30
"""Half the size of a marker; half the width of the Pareto front, and into how many steps each part of it is cut."""
_LABEL_GAP_PX = 3.0
_DISTANCES = (7, 11, 16, 22, 30, 40, 52)
"""Distances of a label from its point in points; the nearest free place is used."""
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.6), (-0.8, 0.6), (0.8, -0.6), (-0.8, -0.6))


class _Point(NamedTuple):
    x: float
    ap: float
    label: str
    group: str


def write(path: Path, comparison: Comparison) -> None:
    """Write a PNG: AP against milliseconds with the first number of threads, and AP against GMAC.

    Raises:
        InputError: No row has an accuracy.
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    plt = import_pyplot()
    scored = [row for row in comparison.rows if row.accuracy]
    if not scored:
        raise InputError(f"{path}: nothing to plot: no row has an accuracy; give --images and --annotations")
    threads = scored[0].times[0].threads
    panels = [
        (f"milliseconds per frame, {threads} thread{'s' if threads > 1 else ''}",
         [_make_point(row, row.times[0].frame_ms) for row in scored]),
        ("billions of multiply-accumulates (GMAC)",
         [_make_point(row, row.macs / 1e9) for row in scored if row.macs]),
    ]  # fmt: skip
    panels = [panel for panel in panels if panel[1]]
    size = (_WIDTH_IN, _PANEL_HEIGHT_IN * len(panels) + 1.0)
    figure, axes = plt.subplots(len(panels), 1, figsize=size, squeeze=False, dpi=_DPI)
    groups = list(dict.fromkeys(row.group for row in comparison.rows))
    for panel, (title, points) in zip(axes.flat, panels, strict=True):
        _plot_points(panel, points, groups)
        panel.set_xlabel(title, fontsize=9)
    machine = comparison.machine
    figure.suptitle(f"{machine.name}, {machine.architecture}, {comparison.measured[:10]}\n"
                    f"COCO keypoint AP on {comparison.images} images", fontsize=9)  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.4 / size[1]))
    figure.legend(*axes.flat[0].get_legend_handles_labels(), fontsize=7.5, ncols=2, loc="upper center",
                  bbox_to_anchor=(0.5, 1 - 0.5 / size[1]))  # fmt: skip
    figure.canvas.draw()
    for panel, (_, points) in zip(axes.flat, panels, strict=True):
        _place_labels(figure, panel, points)
    with atomic.replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)
    plt.close(figure)


def _make_point(row: Row, x: float) -> _Point:
    assert row.accuracy is not None
    return _Point(x, row.accuracy.ap, f"{row.name}\n{row.precision} {row.size}", row.group)


def _plot_points(panel: Any, points: Sequence[_Point], groups: Sequence[str]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    front = find_front([(point.x, point.ap) for point in points])
    panel.plot([x for x, _ in front], [ap for _, ap in front], "-", color="#888888", linewidth=1, zorder=1,
               label="Pareto front")  # fmt: skip
    for number, group in enumerate(groups):
        own = [point for point in points if point.group == group]
        panel.plot([point.x for point in own], [point.ap for point in own], linestyle="", label=group, zorder=2,
                   marker=_MARKERS[number % len(_MARKERS)], color=_COLORS[number % len(_COLORS)])  # fmt: skip
    panel.set_xscale("log")
    panel.margins(x=0.16, y=0.14)
    panel.set_ylabel("COCO keypoint AP", fontsize=9)
    panel.tick_params(labelsize=8, which="both")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(alpha=0.25, which="both")


def _place_labels(figure: Any, panel: Any, points: Sequence[_Point]) -> None:
    """Put each label at the nearest place where it covers no point, no other label and not the Pareto front."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer = figure.canvas.get_renderer()
    inside = panel.get_window_extent(renderer)
    front = panel.transData.transform(find_front([(point.x, point.ap) for point in points]))
    marks = [(*panel.transData.transform((point.x, point.ap)), _MARKER_PX) for point in points]
    marks += [(*(start + part * (end - start)), _LINE_PX) for start, end in pairwise(front)
              for part in (i / _LINE_STEPS for i in range(1, _LINE_STEPS))]  # fmt: skip
    taken = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y, half in marks]
    places = [(distance, dx, dy) for distance in _DISTANCES for dx, dy in _DIRECTIONS]
    for point in sorted(points, key=lambda point: point.x):
        label = panel.annotate(
            point.label, (point.x, point.ap), fontsize=_LABEL_SIZE, textcoords="offset points", linespacing=1.0,
            xytext=(0, 0), arrowprops={"arrowstyle": "-", "color": "#777777", "linewidth": 0.6, "shrinkA": 1},
        )  # fmt: skip
        best: tuple[float, Any, tuple[float, float, float]] | None = None
        for place in places:
            _move_label(label, place)
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer).padded(_LABEL_GAP_PX)
            outside = box.width * box.height - _overlap(box, inside)
            cost = sum(_overlap(box, other) for other in taken) + 5 * outside
            if best is None or cost < best[0]:
                best = (cost, box, place)
            if cost <= 0:
                break
        assert best is not None
        _move_label(label, best[2])
        taken.append(best[1])


def _move_label(label: Any, place: tuple[float, float, float]) -> None:
    distance, dx, dy = place
    label.set_position((dx * distance, dy * distance))
    label.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
    label.set_verticalalignment("bottom" if dy > 0 else "top" if dy < 0 else "center")


def _overlap(one: Any, other: Any) -> float:
    """Return the area in pixels that two boxes share."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(width * height) if width > 0 and height > 0 else 0.0
