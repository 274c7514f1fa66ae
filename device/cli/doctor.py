"""The command `edgepose doctor`: check whether this machine or a board can run the camera loop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import time

from ...runtime.cli.command import Command, Option
from ...runtime.errors import InputError
from ...runtime.io.printable import make_printable
from ..deploy import facts, fleet, hosts
from ..deploy.checks import Check, run_checks
from ..deploy.units import BASE_FOLDER
from .board_access import BoardAccess, get_access, make_access_options, make_board_argument

_SIGNS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


@dataclass(frozen=True)
class DoctorOptions(BoardAccess):
    """Values of the command line of `edgepose doctor`."""

    json: bool


def run(options: DoctorOptions) -> int:
    """Print all checks.

    Returns:
        0 done; 1 a check failed, or a board does not answer.
    """
    found: dict[str, list[Check]] = {}
    problems: dict[str, str] = {}
    if options.boards:
        targets = hosts.parse(options.boards)
        fleet.prepare_gevent()
        boards = fleet.Fleet.open(targets, get_access(options))
        try:
            found = {
                name: _check_facts(seen, time())
                for name, seen in boards.check_imports(boards.read_facts(include_cameras=True)).items()
            }
        finally:
            boards.close()
        problems = boards.problems
    else:
        done = subprocess.run(
            [sys.executable, "-I", "-", BASE_FOLDER, "deep"],
            input=facts.read_probe_script(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise InputError(f"this machine cannot be checked: {done.stderr[-200:]}")
        found["this machine"] = _check_facts(facts.parse(done.stdout), None)
    if options.json:
        print(
            json.dumps(
                {"boards": {name: [asdict(c) for c in checks] for name, checks in found.items()}, "problems": problems},
                indent=1,
            )
        )
    else:
        for name, checks in found.items():
            print("\n".join(map(make_printable, _format_checks(name, checks))))
        for name, problem in problems.items():
            print(f"{name}: no answer: {make_printable(problem)}")
    failed = any(check.verdict == "failed" for checks in found.values() for check in checks)
    return 1 if failed or problems else 0


def _check_facts(seen: facts.Facts, here_s: float | None) -> list[Check]:
    checks = run_checks(seen, here_s)
    if seen.releases:
        checks.append(
            Check("releases", "ok", ", ".join(f"{name}{' (runs)' * (name == seen.current)}" for name in seen.releases))
        )
    return checks


def _format_checks(name: str, checks: Sequence[Check]) -> list[str]:
    lines = [name]
    for check in checks:
        lines.append(f"  {_SIGNS[check.verdict]}  {check.name:18} {check.seen}")
        if check.fix and check.verdict != "ok":
            lines.append(f"           {'':18} -> {check.fix}")
    return lines


command = Command(
    "doctor",
    DoctorOptions,
    run,
    description="""\
Check this machine, or boards over ssh: system, Python, packages, memory, disk, power, clock, camera
and service. Says what is wrong and what to do. Works before anything is installed on the board.""",
    examples="""\
  edgepose doctor
  edgepose doctor pi@raspberrypi.local --json""",
    parameters=[
        make_board_argument(required=False),
        Option("--json", is_flag=True, section="Output", help="print one JSON document"),
        *make_access_options(),
    ],
)
