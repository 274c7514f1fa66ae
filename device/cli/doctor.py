"""The command `edgepose doctor`: check whether this machine or a board can run the camera loop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time

from ...runtime.cli.command import Command, Option, PathName
from ...runtime.errors import InputError, OutputError
from ...runtime.io.messages import show_note
from ...runtime.io.printable import make_printable
from ..deploy import facts, fleet, hosts
from ..deploy.check import Check
from ..deploy.checks import run_checks
from ..deploy.units import BASE_FOLDER
from ..doctor.this_machine import check_this_machine
from . import doctor_report
from .board_access import RootAccess, get_access, make_board_argument, make_root_access_options


@dataclass(frozen=True)
class DoctorOptions(RootAccess):
    """Values of the command line of `edgepose doctor`."""

    json: bool
    report: Path | None


def run(options: DoctorOptions) -> int:
    """Print all checks.

    Returns:
        0 done; 1 a check failed, or a board does not answer.
    """
    if options.report is not None and not options.report.absolute().parent.is_dir():  # the checks take a while
        raise OutputError(f"{options.report}: there is no folder {options.report.parent}")
    targets = hosts.parse(options.boards) if options.boards else []
    if not targets:
        _check_no_board_options(options)
    if targets:
        answers, problems = _ask_boards(targets, options)
    else:
        answers, problems = {"this machine": _ask_this_machine()}, {}
    found = {
        name: _check_facts(seen, time()) if targets else check_this_machine(seen) for name, seen in answers.items()
    }
    if options.json:
        print(
            json.dumps(
                {"boards": {name: [asdict(c) for c in checks] for name, checks in found.items()}, "problems": problems},
                indent=1,
            )
        )
    else:
        for name, checks in found.items():
            print("\n".join(map(make_printable, doctor_report.format_checks(name, checks))))
        for name, problem in problems.items():
            print(f"{name}: no answer: {make_printable(problem)}")
    if options.report is not None:
        sections = [doctor_report.Section(name, answers[name], found[name]) for name in found]
        doctor_report.write(options.report, sections, problems, targets)
        show_note(f"{options.report}: written; read it before you attach it to an issue")
    failed = any(check.verdict == "failed" for checks in found.values() for check in checks)
    return 1 if failed or problems else 0


def _check_no_board_options(options: DoctorOptions) -> None:
    given = {
        "-i": options.identity is not None,
        "-F": options.ssh_config is not None,
        "--accept-new": options.accept_new,
        "--ask-sudo-password": options.ask_sudo_password,
        "--sudo-password-file": options.sudo_password_file is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise InputError(f"{name} is for boards: expected HOST; without one, this machine is checked")


def _ask_boards(
    targets: Sequence[hosts.Target], options: DoctorOptions
) -> tuple[dict[str, facts.Facts], dict[str, str]]:
    """Return the facts of the boards that answer, and the problems of the others."""
    access = get_access(options)
    fleet.prepare_gevent()
    boards = fleet.Fleet.open(targets, access)
    try:
        found = boards.check_imports(boards.read_facts(include_cameras=True, check_sudo=True))
    finally:
        boards.close()
    return found, boards.problems


def _ask_this_machine() -> facts.Facts:
    done = subprocess.run(
        [sys.executable, "-I", "-", BASE_FOLDER, "deep"],
        input=facts.read_probe_script(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"this machine cannot be checked: {done.stderr[-200:]}")
    return facts.parse(done.stdout)


def _check_facts(seen: facts.Facts, here_s: float) -> list[Check]:
    checks = run_checks(seen, here_s)
    if seen.releases:
        checks.append(
            Check("releases", "ok", ", ".join(f"{name}{' (runs)' * (name == seen.current)}" for name in seen.releases))
        )
    return checks


command = Command(
    "doctor",
    DoctorOptions,
    run,
    description="""\
Check this machine, or boards over ssh, and say what is wrong and what to do.
Without HOST: Python, packages, interpreter, a trial inference, models, cache, extras, cameras, and what
`edgepose deploy` needs. With HOST: system, sudo, Python, packages, memory, disk, power, clock, camera,
field of view and service of the boards; works before anything is installed on them, and needs the extra
`deploy`.""",
    examples="""\
  edgepose doctor
  edgepose doctor pi@raspberrypi.local --json
  edgepose doctor pi@raspberrypi.local --ask-sudo-password --report report.md""",
    exit_codes={1: "a check failed, or a board does not answer"},
    parameters=[
        make_board_argument(required=False),
        Option("--json", is_flag=True, section="Output", help="print JSON instead of text"),
        Option("--report", type=PathName(), metavar="FILE", section="Output",
               help="also write a report to attach to an issue, without the names of boards and users"),
        *make_root_access_options(),
    ],
)  # fmt: skip
