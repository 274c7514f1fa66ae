"""The command `edgepose status`: show the status of deployed boards."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime.cli.command import Command, Option
from ...runtime.io.printable import make_printable
from ..deploy import fleet, hosts
from ..deploy.facts import Facts
from ..monitor.health import HEALTHY_STATES, decode_throttled_flags
from .board_access import BoardAccess, get_access, make_access_options, make_board_argument

_HEAD = ("board", "release", "model", "state", "FPS", "people", "temp", "throttled", "last person", "up")


@dataclass(frozen=True)
class Row:
    """The status of one board."""

    board: str
    release: str
    model: str
    state: str
    fps: float | None
    people: int | None
    temperature_c: float | None
    throttled: tuple[str, ...]
    last_person_s: float | None
    """Seconds ago."""
    uptime_s: float | None
    problem: str = ""


@dataclass(frozen=True)
class StatusOptions(BoardAccess):
    """Values of the command line of `edgepose status`."""

    json: bool


def run(options: StatusOptions) -> int:
    """Print one row per board.

    Returns:
        0 done; 1 a board does not answer or does not run.
    """
    targets = hosts.parse(options.boards)
    fleet.prepare_gevent()
    boards = fleet.Fleet.open(targets, get_access(options))
    try:
        found = boards.read_facts()
    finally:
        boards.close()
    rows = [
        make_row(t.name, found[t.name]) if t.name in found else make_lost_row(t.name, boards.problems.get(t.name, ""))
        for t in targets
    ]
    if options.json:
        print(json.dumps([vars(row) for row in rows], indent=1))
    else:
        sys.stdout.writelines(line + "\n" for line in format_table(rows))
    return 0 if all(row.state in HEALTHY_STATES for row in rows) else 1


def make_row(name: str, facts: Facts) -> Row:
    """Build the row of a board from its facts."""
    status: Mapping[str, Any] = facts.status if facts.running and isinstance(facts.status, dict) else {}
    release = facts.release
    state = (
        "not deployed"
        if facts.current is None
        else str(status.get("state") or facts.service.get("ActiveState", "unknown"))
    )
    last = _get_number(status.get("last_person"))
    flags = () if facts.throttled is None else decode_throttled_flags(facts.throttled)
    return Row(
        name, facts.current or "-", f"{release.network} {release.precision}" if release else "-", state,
        _get_number(status.get("fps")), _get_count(status.get("people")), facts.temperature_c, flags,
        None if last is None else max(0.0, facts.time - last), _get_number(status.get("uptime_s")),
        str(status.get("problem") or "")[:500],
    )  # fmt: skip


def make_lost_row(name: str, problem: str) -> Row:
    """Build the row of a board that does not answer."""
    return Row(name, "-", "-", "no answer", None, None, None, (), None, None, problem)


def format_table(rows: Sequence[Row]) -> list[str]:
    """Format rows as a table."""
    cells = [_HEAD] + [
        (
            row.board, row.release, row.model, row.state,
            _format_text(row.fps, "{:.1f}"), _format_text(row.people, "{}"),
            _format_text(row.temperature_c, "{:.0f} C"), ", ".join(row.throttled) or "-",
            "-" if row.last_person_s is None else f"{_format_duration(row.last_person_s)} ago",
            "-" if row.uptime_s is None else _format_duration(row.uptime_s),
        )
        for row in rows
    ]  # fmt: skip
    # The answer of a board is not trusted: its service and its root user can write anything.
    shown = [[make_printable(cell, limit=60) for cell in line] for line in cells]
    widths = [max(len(line[column]) for line in shown) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in shown]
    return lines + [f"{row.board}: {make_printable(row.problem)}" for row in rows if row.problem]


def _format_text(value: float | int | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _get_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
        return None
    return float(value)


def _get_count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 10**6 else None


def _format_duration(seconds: float) -> str:
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


command = Command(
    "status",
    StatusOptions,
    run,
    description="Show the status of deployed boards: release, model, FPS, temperature, power, last person seen.",
    examples="""\
  edgepose status pi@raspberrypi.local
  edgepose status @shop.txt --json""",
    exit_codes={1: "a board does not answer, or its camera loop does not run"},
    parameters=[
        make_board_argument(),
        Option("--json", is_flag=True, section="Output", help="print JSON instead of text"),
        *make_access_options(),
    ],
)
