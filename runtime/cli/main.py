"""The command `edgepose`: finds the subcommand, runs it, turns errors into one line and an exit code.

A subcommand is a module with `parser()` and `run(arguments) -> exit code`; it is imported only when it is called, so
that `edgepose --help` stays fast and a part whose extra is missing does not disturb the others.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..errors import EdgePoseError
from ..io.atomic import try_expand_home
from ..io.printable import printable
from ..io.redact import mask_credentials
from .signals import exit_code, raised_signals

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class Command(NamedTuple):
    """Where a subcommand lives and what it does, in a line."""

    module: str
    summary: str


COMMANDS = {
    "convert": Command(
        "edgepose.convert.cli.convert", "make a .tflite of a network by name or of a file with its weights"
    ),
    "models": Command("edgepose.convert.cli.models", "list, show and fetch the networks that are known by name"),
    "run": Command("edgepose.runtime.cli.run", "find the people in images, folders, videos or a synthetic scene"),
    "info": Command("edgepose.runtime.cli.info", "show what is known of a converted model"),
    "camera": Command("edgepose.device.cli.camera", "the headless camera loop: camera in, poses out"),
    "deploy": Command("edgepose.device.cli.deploy", "install model and camera loop on boards over ssh"),
    "status": Command(
        "edgepose.device.cli.status", "show the status of deployed boards: release, FPS, temperature, last person"
    ),
    "logs": Command("edgepose.device.cli.logs", "what the loop on a board says"),
    "rollback": Command("edgepose.device.cli.rollback", "boards go back to the release before"),
    "doctor": Command("edgepose.device.cli.doctor", "what is wrong with this machine or a board, and what to do"),
    "profile": Command("edgepose.benchmarks.cli.profile", "measure models on this machine: FPS, stages, operators"),
    "eval": Command("edgepose.convert.cli.eval", "score a model on COCO keypoint annotations"),
}

_EXAMPLES = """\
examples:
  edgepose convert human-pose-estimation-0001 -o pose.tflite
  edgepose run -m pose.tflite photo.jpg --draw drawn/
  edgepose camera -m pose.tflite --sink http://127.0.0.1:8080 --privacy blur
  edgepose deploy pi@raspberrypi.local -m pose.tflite
  edgepose profile pose.tflite --plot pose.png
  edgepose eval -m pose.tflite --images val2017/ --annotations person_keypoints.json

`edgepose COMMAND --help` tells more, with examples."""


class _StoreOnce(argparse.Action):
    """Stores a value, and refuses the option's second appearance: which one would be meant?"""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given: set[str] = namespace.__dict__.setdefault("_given", set())
        if option_string is not None and self.dest in given:
            first = getattr(namespace, self.dest)
            raise argparse.ArgumentError(self, f"given twice: {first} and {values}; give it once")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and whose options are given at most once."""

    def __init__(self, command: str, description: str, examples: str) -> None:
        super().__init__(
            prog=f"edgepose {command}",
            description=description,
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.register("action", None, _StoreOnce)
        self.register("action", "store", _StoreOnce)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print as argparse does, but let a full disk or a closed output be an error."""
        if message:
            (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Prints the message alone and exits with 2."""
        self.exit(2, f"{self.prog}: {printable(mask_credentials(message))} (see {self.prog} --help)\n")


def _protect_names(arguments: list[str]) -> list[str]:
    """Make `-- -name` work: parse_intermixed_args takes what follows `--` for options all the same."""
    if "--" not in arguments:
        return arguments
    end = arguments.index("--")
    names = [f"./{name}" if name.startswith("-") and name != "-" else name for name in arguments[end + 1 :]]
    return [*arguments[:end], *names]


def _expand_paths(parsed: argparse.Namespace) -> argparse.Namespace:
    """Expand `~` in all arguments that are paths: shells leave `--option=~/x` alone."""
    for name, value in vars(parsed).items():
        setattr(parsed, name, _expand_user(value))
    return parsed


def _expand_user(value: object) -> object:
    """Expand a leading `~` of a path, if no file has that name."""
    if isinstance(value, list):
        return [_expand_user(item) for item in value]
    if not isinstance(value, (str, Path)) or not str(value).startswith("~"):
        return value
    return type(value)(try_expand_home(str(value)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done; 1 a negative verdict, or some of several inputs failed; 2 wrong use or bad input.
    """
    _open_closed_streams()
    try:
        try:
            with raised_signals():
                return _dispatch(list(sys.argv[1:] if argv is None else argv))
        finally:
            # Here, so that it also holds for what argparse prints before it exits. What fails goes before the result.
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone, as with `| head`: nothing is wrong.
        _drop_stdout()
        return 0
    except OSError as error:
        _drop_stdout()
        return _fail(f"cannot write to standard output: {error.strerror or error}")
    except KeyboardInterrupt as end:
        return exit_code(end)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(), flush=True)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from ..version import version

        print(f"edgepose {version()}", flush=True)
        return 0
    command = COMMANDS.get(arguments[0])
    if command is None:
        close = difflib.get_close_matches(arguments[0], COMMANDS, n=1) or [", ".join(COMMANDS)]
        return _fail(f"no command {arguments[0]!r}; did you mean {close[0]}? (see edgepose --help)")
    return _run(command, arguments[1:])


def _run(command: Command, arguments: list[str]) -> int:
    module = importlib.import_module(command.module)
    try:
        code = module.run(_expand_paths(module.parser().parse_intermixed_args(_protect_names(arguments))))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (EdgePoseError, ValueError, MemoryError) as error:
        return _fail(str(error) or type(error).__name__)
    except OSError as error:
        _drop_stdout()
        return _fail(f"cannot write the result: {error.strerror or error}")
    return int(code)


def _open_closed_streams() -> None:
    """Make standard streams that the caller has closed (`>&-`) usable: a file opened later would take their place.

    What is written to a closed standard output fails, as it would with any other program.
    """
    for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is not None:
            continue
        try:
            handle = os.open(os.devnull, flags)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
        except OSError:
            continue


def _drop_stdout() -> None:
    """What could not be written must not be tried again, and fail again, when Python exits."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _fail(message: str) -> int:
    # A message quotes what came from outside: names in files may hold control characters.
    with suppress(OSError):  # there is no stderr to write to
        print("edgepose: " + printable(mask_credentials(" ".join(message.split()))), file=sys.stderr)
    return 2


def _overview() -> str:
    rows = "\n".join(f"  {name:9} {command.summary}" for name, command in COMMANDS.items())
    head = "usage: edgepose COMMAND ...\n\nMulti-person pose estimation on edge devices."
    return f"{head}\n\ncommands:\n{rows}\n\n{_EXAMPLES}"


if __name__ == "__main__":
    sys.exit(main())
