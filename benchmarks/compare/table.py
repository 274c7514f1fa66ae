"""Tables of a comparison: plain text, and the table of a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io import atomic
from ...runtime.io.read_file import read_text
from .results import Comparison, Row

BEGIN, END = "<!-- comparison: begin -->", "<!-- comparison: end -->"
"""Lines of a page between which `update_page` writes the table."""


def format_text(comparison: Comparison) -> str:
    """Format the table for a terminal."""
    lines = [_make_columns(comparison), *(_make_cells(row) for row in _sort(comparison.rows))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" if column < 3 else f"{cell:>{width}}"
                  for column, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip


def format_markdown(comparison: Comparison) -> str:
    """Format the table for a Markdown page, with what was measured in a line above it."""
    head, *body = [_make_columns(comparison), *(_make_cells(row) for row in _sort(comparison.rows))]
    body = [[f"`{name}`", *others] for name, *others in body]
    rules = ["---", "---", "---", *("---:" for _ in head[3:])]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *body))
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    machine = comparison.machine
    return (
        f"Measured on {comparison.measured[:10]}: {machine.name}, {machine.cores} cores, {machine.architecture}.\n"
        f"{versions}.\n{comparison.rounds} rounds of {comparison.frames} frames; AP on {comparison.images} images.\n\n"
        f"{table}"
    )


def update_page(path: Path, comparison: Comparison) -> None:
    """Replace the table of a Markdown page, between the lines `BEGIN` and `END`.

    Raises:
        InputError: The page cannot be read, or does not have each line once, in this order.
        OutputError: The page cannot be written.
    """
    text = read_page(path)
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    atomic.write_text(path, f"{before}{BEGIN}\n{format_markdown(comparison)}\n{END}{after}")


def read_page(path: Path) -> str:
    """Read a page that has a table of a comparison.

    Raises:
        InputError: The page cannot be read, or does not have the lines `BEGIN` and `END` once, in this order.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read the page: {error}") from None
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"{path}: expected the lines {BEGIN} and {END} once, in this order")
    return text


def _sort(rows: Sequence[Row]) -> list[Row]:
    """Sort by the time with the first number of threads."""
    return sorted(rows, key=lambda row: row.times[0].frame_ms if row.times else 0.0)


def _make_columns(comparison: Comparison) -> list[str]:
    counts = [time.threads for time in comparison.rows[0].times]
    times = [f"ms, {count} thread{'s' if count > 1 else ''}" for count in counts]
    accuracy = ["AP", "AP50", "AP medium", "AP large"] if comparison.images else []
    return ["model", "precision", "input", *accuracy[:1], *times, "GMAC", "MB", *accuracy[1:]]


def _make_cells(row: Row) -> list[str]:
    macs = "" if row.macs is None else f"{row.macs / 1e9:.2f}"
    accuracy = ["-" if value < 0 else f"{value:.3f}" for value in row.accuracy or ()]  # -1: no such people
    times = [f"{time.frame_ms:.1f}" for time in row.times]
    return [
        row.name, row.precision, row.size, *accuracy[:1], *times, macs, f"{row.model_mb:.1f}", *accuracy[1:],
    ]  # fmt: skip
