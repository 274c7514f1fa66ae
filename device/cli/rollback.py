"""`edgepose rollback`: boards go back to an earlier release."""

from __future__ import annotations

import argparse

from ...runtime.cli.main import Parser
from ...runtime.errors import InputError
from ...runtime.io.printable import printable
from ..deploy import fleet, hosts, plan
from ..deploy.facts import RELEASE_ID
from .deploy import access_of, add_access, note


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "rollback",
        "Switches boards back to the release before, or to one that is named (edgepose doctor HOST lists them).",
        "  edgepose rollback pi@raspberrypi.local\n"
        "  edgepose rollback pi@raspberrypi.local --to 20261124T140000-1a2b3c4d",
    )
    add_access(parser)
    parser.add_argument("--to", metavar="RELEASE", help="an earlier release (default: the one before)")
    parser.add_argument(
        "--health-seconds", type=int, default=10, metavar="S", help="how long it must run (default: 10)"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Goes back on all boards at once; 1 where one did not."""
    if arguments.to and not RELEASE_ID.fullmatch(arguments.to):
        raise InputError(f"--to {arguments.to}: expected a release such as 20261124T140000-1a2b3c4d")
    targets = hosts.parse(arguments.boards)
    fleet.prepare()
    boards = fleet.Fleet.of(targets, access_of(arguments))
    try:
        work = {}
        for name, facts in boards.look().items():
            try:
                work[name] = plan.rollback(facts, arguments.to, arguments.health_seconds)
            except InputError as error:
                boards.drop(name, str(error))
        boards.do(work, lambda name, step: note(f"{name}: {step}"))
        found = boards.look()
    finally:
        boards.close()
    for target in targets:
        problem = boards.problems.get(target.name)
        print(
            f"{target.name}: FAILED: {printable(problem)}"
            if problem
            else f"{target.name}: release {found[target.name].current} runs"
        )
    return 1 if boards.problems else 0
