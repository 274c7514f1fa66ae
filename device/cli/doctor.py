"""`edgepose doctor`: is this machine, or a board, fit to run the loop, and if not, what to do."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from time import time

from ...runtime.cli.main import Parser
from ...runtime.errors import InputError
from ...runtime.io.printable import printable
from ..deploy import facts, fleet, hosts
from ..deploy.checks import Check, run_checks
from ..deploy.units import BASE
from .deploy import access_of, add_access

_SIGNS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "doctor",
        "Looks at this machine, or at boards over ssh: system, Python, packages, memory, disk, power, clock, camera,\n"
        "service; says in plain words what is wrong and what to do. Works before anything is installed there.",
        "  edgepose doctor\n  edgepose doctor pi@raspberrypi.local --json",
    )
    add_access(parser)
    next(action for action in parser._actions if action.dest == "boards").nargs = "*"
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Prints the checks; 1 where one failed or a board does not answer."""
    found: dict[str, list[Check]] = {}
    problems: dict[str, str] = {}
    if arguments.boards:
        targets = hosts.parse(arguments.boards)
        fleet.prepare()
        boards = fleet.Fleet.of(targets, access_of(arguments))
        try:
            found = {
                name: _examined(seen, time()) for name, seen in boards.look_at_imports(boards.look(deep=True)).items()
            }
        finally:
            boards.close()
        problems = boards.problems
    else:
        done = subprocess.run(
            [sys.executable, "-I", "-", BASE, "deep"], input=facts.script(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise InputError(f"this machine cannot be looked at: {done.stderr[-200:]}")
        found["this machine"] = _examined(facts.read(done.stdout), None)
    if arguments.json:
        print(
            json.dumps(
                {"boards": {name: [asdict(c) for c in checks] for name, checks in found.items()}, "problems": problems},
                indent=1,
            )
        )
    else:
        for name, checks in found.items():
            print("\n".join(map(printable, _lines(name, checks))))
        for name, problem in problems.items():
            print(f"{name}: no answer: {printable(problem)}")
    failed = any(check.verdict == "failed" for checks in found.values() for check in checks)
    return 1 if failed or problems else 0


def _examined(seen: facts.Facts, here_s: float | None) -> list[Check]:
    checks = run_checks(seen, here_s)
    if seen.releases:
        checks.append(
            Check("releases", "ok", ", ".join(f"{name}{' (runs)' * (name == seen.current)}" for name in seen.releases))
        )
    return checks


def _lines(name: str, checks: Sequence[Check]) -> list[str]:
    lines = [name]
    for check in checks:
        lines.append(f"  {_SIGNS[check.verdict]}  {check.name:18} {check.seen}")
        if check.fix and check.verdict != "ok":
            lines.append(f"           {'':18} -> {check.fix}")
    return lines
