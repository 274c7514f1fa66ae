"""The command `edgepose rollback`: switch boards back to an earlier release."""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.cli.command import Command, Number, Option
from ...runtime.errors import InputError
from ...runtime.io.messages import show_note
from ...runtime.io.printable import make_printable
from ..deploy import fleet, hosts, plan
from ..deploy.checks import blocking_error, check_sudo
from ..deploy.facts import RELEASE_ID
from .board_access import RootAccess, get_access, make_board_argument, make_root_access_options


@dataclass(frozen=True)
class RollbackOptions(RootAccess):
    """Values of the command line of `edgepose rollback`."""

    to: str | None
    health_seconds: int


def run(options: RollbackOptions) -> int:
    """Switch all boards back at once.

    Returns:
        0 done; 1 at least one board failed.
    """
    if options.to and not RELEASE_ID.fullmatch(options.to):
        raise InputError(f"--to {options.to}: expected a release such as 20261124T140000-1a2b3c4d")
    targets = hosts.parse(options.boards)
    access = get_access(options)
    fleet.prepare_gevent()
    boards = fleet.Fleet.open(targets, access)
    try:
        work = {}
        for name, facts in boards.read_facts(check_sudo=True).items():
            try:
                if problems := [check for check in check_sudo(facts) if check.blocks]:
                    raise blocking_error(problems)
                work[name] = plan.make_rollback_steps(facts, options.to, options.health_seconds)
            except InputError as error:
                boards.drop(name, str(error))
        boards.run_steps(work, lambda name, step: show_note(f"{name}: {step}"))
        found = boards.read_facts()
    finally:
        boards.close()
    for target in targets:
        problem = boards.problems.get(target.name)
        print(
            f"{target.name}: FAILED: {make_printable(problem)}"
            if problem
            else f"{target.name}: release {found[target.name].current} runs"
        )
    return 1 if boards.problems else 0


command = Command(
    "rollback",
    RollbackOptions,
    run,
    description="Switch boards back to the previous release, or to a given one (`edgepose doctor HOST` lists them).",
    examples="""\
  edgepose rollback pi@raspberrypi.local
  edgepose rollback pi@raspberrypi.local --to 20261124T140000-1a2b3c4d""",
    exit_codes={1: "a board failed, or does not answer"},
    parameters=[
        make_board_argument(),
        Option("--to", metavar="RELEASE", section="Release", help="an earlier release (default: the previous one)"),
        Option("--health-seconds", default=10, type=Number(int, 1, 600), metavar="S", section="Release",
               help="how long the release must run before it is kept (default: 10)"),
        *make_root_access_options(),
    ],
)  # fmt: skip
