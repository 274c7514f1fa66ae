"""A profile as people read it: a table in text, CSV, and the operators by what they cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from .results import STAGES, Operator, Profile, Row

_HEAD = (
    "model", "precision", "size", "threads", "FPS", "p50 ms", "p95 ms", "capture", "preproc", "infer", "decode",
    "draw", "encode", "GMAC/s", "MB", "RSS MB", "AP",
)  # fmt: skip
_WIDTHS = (28, 9, 8, 7, 7, 7, 7, 7, 7, 8, 6, 6, 6, 6, 6, 6, 5)
"""Of the columns while rows are still coming."""
_LEFT = 3
"""Columns of text, which are written from the left."""
_KINDS = 12


def head() -> str:
    """The line above the rows."""
    return _line(_HEAD, _WIDTHS)


def line(row: Row) -> str:
    """A row of the table, in the columns of `head`."""
    if row.error:
        return f"{row.label}: {row.error}"
    return _line(_cells(row), _WIDTHS)


def text(rows: Sequence[Row]) -> str:
    """The whole table, its columns as wide as they must be."""
    cells = [_HEAD, *(_cells(row) for row in rows if not row.error)]
    widest = [max(len(entry[i]) for entry in cells) for i in range(len(_HEAD))]
    lines = [_line(entry, widest) for entry in cells]
    return "\n".join([*lines, *(line(row) for row in rows if row.error)])


def operators(row: Row) -> str:
    """Time by kind of operator, the slowest operators, and how nearly all of them add up to the whole."""
    total = sum(operator.ms for operator in row.operators)
    lines = [
        f"{row.label}: {len(row.operators)} operators take {total:.2f} ms by themselves, "
        f"the network {row.operators_total_ms:.2f} ms ({total / row.operators_total_ms - 1:+.1%})"
    ]
    kinds: dict[tuple[str, bool], list[Operator]] = {}
    for operator in row.operators:
        kinds.setdefault((operator.kind, operator.delegated), []).append(operator)
    lines.append(f"  {'kind':22}{'count':>6}{'ms':>10}{'share':>8}{'GMAC/s':>9}  run by")
    for (kind, delegated), found in sorted(kinds.items(), key=lambda entry: -_sum(entry[1])):
        lines.append(f"  {kind:22}{len(found):6}{_costs(found, total)}  {'XNNPACK' if delegated else 'interpreter'}")
    lines.append("  slowest")
    for operator in sorted(row.operators, key=lambda operator: -operator.ms)[:_KINDS]:
        lines.append(f"  {operator.kind:22}{operator.number:6}{_costs([operator], total)}  {operator.name}")
    return "\n".join(lines)


def as_csv(profiles: Iterable[Profile]) -> str:
    """All rows with the machine they were measured on."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    stages = [f"{stage}_ms" for stage in STAGES]
    writer.writerow([
        "machine", "model", "network", "precision", "width", "height", "threads", "interpreter", "fps", "p50_ms",
        "p95_ms", "max_ms", *stages, "macs", "gmacs_per_s", "model_mb", "rss_mb", "peak_rss_mb", "load_ms", "first_ms",
        "people", "ap", "estimate", "warnings", "error",
    ])  # fmt: skip
    for profile in profiles:
        for row in profile.rows:
            writer.writerow([
                profile.machine.name, row.model, row.network, row.precision, *(row.input_size or ("", "")),
                row.threads, row.interpreter, row.fps, *(row.latency_ms or ("", "", "")),
                *(row.stages_ms.get(stage, "") for stage in STAGES), row.macs or "", row.gmacs_per_s or "",
                row.model_mb, row.rss_mb, row.peak_rss_mb, row.load_ms, row.first_ms, row.people,
                row.accuracy.ap if row.accuracy else "", row.estimate, "; ".join(row.warnings), row.error,
            ])  # fmt: skip
    return made.getvalue()


def _cells(row: Row) -> tuple[str, ...]:
    latency = row.latency_ms
    return (
        row.label.rpartition(" x")[0] or row.label,
        row.precision,
        "x".join(map(str, row.input_size or ())),
        str(row.threads),
        ("~" if row.estimate else "") + f"{row.fps:.1f}",
        f"{latency.p50:.1f}" if latency else "",
        f"{latency.p95:.1f}" if latency and not row.estimate else "",
        *(f"{row.stages_ms[stage]:.2f}" if stage in row.stages_ms else "" for stage in STAGES),
        f"{row.gmacs_per_s:.1f}" if row.gmacs_per_s else "",
        f"{row.model_mb:.1f}",
        f"{row.peak_rss_mb:.0f}" if row.peak_rss_mb else "",
        f"{row.accuracy.ap:.3f}" if row.accuracy else "",
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        parts.append(cell.ljust(width) if i < _LEFT else cell.rjust(width))
    return "  ".join(parts).rstrip()


def _costs(found: Sequence[Operator], total: float) -> str:
    ms, macs = _sum(found), sum(operator.macs for operator in found)
    rate = f"{macs / ms / 1e6:9.1f}" if macs and ms else " " * 9
    return f"{ms:10.3f}{ms / total:8.1%}{rate}"


def _sum(found: Iterable[Operator]) -> float:
    return sum(operator.ms for operator in found)
