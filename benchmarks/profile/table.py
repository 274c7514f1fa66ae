"""Text output of profiles: table, CSV, and operators by time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from .results import STAGES, Operator, Profile, Row

_COLUMNS = (
    "model", "precision", "size", "threads", "FPS", "p50 ms", "p95 ms", "capture", "preproc", "infer", "decode",
    "draw", "encode", "GMAC/s", "MB", "RSS MB", "AP",
)  # fmt: skip
_WIDTHS = (28, 9, 8, 7, 7, 7, 7, 7, 7, 8, 6, 6, 6, 6, 6, 6, 5)
"""Column widths for rows that are printed before all rows are known."""
_LEFT_ALIGNED = 3
"""Number of columns at the start that are left-aligned, because they contain text."""
_MAX_SLOWEST = 12
"""Number of operators in the list of the slowest."""


def format_header() -> str:
    """Format the header of the table."""
    return _format_line(_COLUMNS, _WIDTHS)


def format_row(row: Row) -> str:
    """Format one row of the table, with the columns of `format_header`."""
    if row.error:
        return f"{row.label}: {row.error}"
    return _format_line(_format_cells(row), _WIDTHS)


def format_table(rows: Sequence[Row]) -> str:
    """Format the whole table, with columns as wide as their content."""
    cells = [_COLUMNS, *(_format_cells(row) for row in rows if not row.error)]
    widths = [max(len(entry[i]) for entry in cells) for i in range(len(_COLUMNS))]
    lines = [_format_line(entry, widths) for entry in cells]
    return "\n".join([*lines, *(format_row(row) for row in rows if row.error)])


def format_operators(row: Row) -> str:
    """Format the time by kind of operator, the slowest operators, and the sum compared with the whole network."""
    total = sum(operator.ms for operator in row.operators)
    lines = [
        f"{row.label}: {len(row.operators)} operators, sum {total:.2f} ms; "
        f"whole network {row.operators_total_ms:.2f} ms ({total / row.operators_total_ms - 1:+.1%})"
    ]
    kinds: dict[tuple[str, bool], list[Operator]] = {}
    for operator in row.operators:
        kinds.setdefault((operator.kind, operator.delegated), []).append(operator)
    lines.append(f"  {'kind':22}{'count':>6}{'ms':>10}{'share':>8}{'GMAC/s':>9}  run by")
    for (kind, delegated), group in sorted(kinds.items(), key=lambda entry: -_sum_ms(entry[1])):
        runner = "XNNPACK" if delegated else "interpreter"
        lines.append(f"  {kind:22}{len(group):6}{_format_costs(group, total)}  {runner}")
    lines.append("  slowest")
    for operator in sorted(row.operators, key=lambda operator: -operator.ms)[:_MAX_SLOWEST]:
        lines.append(f"  {operator.kind:22}{operator.number:6}{_format_costs([operator], total)}  {operator.name}")
    return "\n".join(lines)


def format_csv(profiles: Iterable[Profile]) -> str:
    """Format all rows, with the name of their machine, as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
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
    return buffer.getvalue()


def _format_cells(row: Row) -> tuple[str, ...]:
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


def _format_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        parts.append(cell.ljust(width) if i < _LEFT_ALIGNED else cell.rjust(width))
    return "  ".join(parts).rstrip()


def _format_costs(group: Sequence[Operator], total: float) -> str:
    ms, macs = _sum_ms(group), sum(operator.macs for operator in group)
    rate = f"{macs / ms / 1e6:9.1f}" if macs and ms else " " * 9
    return f"{ms:10.3f}{ms / total:8.1%}{rate}"


def _sum_ms(group: Iterable[Operator]) -> float:
    return sum(operator.ms for operator in group)
