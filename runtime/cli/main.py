"""The command `edgepose`: finds the subcommand, runs it, turns errors into one line and an exit code.

A subcommand is a module with a `command`. It is imported only if it is called, so that `edgepose --help` stays fast
and a missing extra of one command does not affect the others.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem, shell_complete

from ..errors import EdgePoseError
from ..io.messages import Verbosity, set_verbosity, show_traceback
from ..io.printable import make_printable
from ..io.redact import mask_credentials
from .command import apply_common_options, describe_help_option, describe_usage_error, make_common_options
from .signals import get_exit_code, raise_on_signals


class CommandEntry(NamedTuple):
    """Module, section of the help text and summary of a subcommand."""

    module: str
    section: str
    summary: str


COMMANDS = {
    "run": CommandEntry(
        "edgepose.runtime.cli.run", "Find people", "find people in images, folders, videos or a synthetic scene"
    ),
    "camera": CommandEntry("edgepose.device.cli.camera", "Find people", "run the headless camera loop"),
    "events": CommandEntry(
        "edgepose.device.cli.events", "Find people", "draw zones and lines, and test rules for events on a video"
    ),
    "models": CommandEntry("edgepose.convert.cli.models", "Models", "list, show and download models"),
    "info": CommandEntry("edgepose.runtime.cli.info", "Models", "show the manifest of a converted model"),
    "convert": CommandEntry("edgepose.convert.cli.convert", "Models", "convert a network or its weights to .tflite"),
    "profile": CommandEntry(
        "edgepose.benchmarks.cli.profile", "Models", "measure FPS, latency by stage and memory of models"
    ),
    "eval": CommandEntry("edgepose.convert.cli.eval", "Models", "measure the COCO AP of a model"),
    "deploy": CommandEntry("edgepose.device.cli.deploy", "Boards", "install model and camera loop on boards over ssh"),
    "status": CommandEntry(
        "edgepose.device.cli.status", "Boards", "show release, FPS, temperature and last person of boards"
    ),
    "logs": CommandEntry("edgepose.device.cli.logs", "Boards", "show the log of the camera loop on a board"),
    "rollback": CommandEntry("edgepose.device.cli.rollback", "Boards", "switch boards back to an earlier release"),
    "doctor": CommandEntry(
        "edgepose.device.cli.doctor", "Boards", "check this installation or boards, and say what to do"
    ),
    "completion": CommandEntry("edgepose.runtime.cli.completion", "Shell", "print the completion script of a shell"),
}

_START = """\
Multi-person pose estimation on edge devices.

Start with:

  edgepose run photo.jpg --draw out/
"""

_EXAMPLES = """\
Examples:
  edgepose convert human-pose-estimation-0001 -o pose.tflite
  edgepose camera -m pose.tflite --sink http://127.0.0.1:8080 --privacy blur
  edgepose events test clip.mp4 --config camera.toml
  edgepose deploy pi@raspberrypi.local -m pose.tflite
  edgepose profile pose.tflite --plot pose.png
  edgepose eval -m pose.tflite --images val2017/ --annotations person_keypoints.json

`edgepose COMMAND --help` shows the options of a command, with examples.
"""

COMPLETION_VARIABLE = "_EDGEPOSE_COMPLETE"


class CommandLine(click.Group):
    """The command `edgepose`, whose subcommands are imported when they are called."""

    def __init__(self) -> None:
        super().__init__(
            "edgepose",
            params=[*make_common_options(), click.Option(["--version"], is_flag=True, help="show the version")],
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            subcommand_metavar="COMMAND ...",
            no_args_is_help=False,
            invoke_without_command=True,
        )

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return `--help`."""
        return describe_help_option(super().get_help_option(ctx))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for an unknown name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        try:
            command: click.Command = importlib.import_module(entry.module).command
        except ModuleNotFoundError as error:
            if error.name is None or not entry.module.startswith(error.name):
                raise
            # What `edgepose deploy` installs on a board has no parts that only a workstation needs.
            raise click.UsageError(
                f"{cmd_name} is not part of this installation; run it on the computer from which edgepose was deployed"
            ) from None
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is refused with the nearest name."""
        if args[0] == "help" and len(args) > 1:
            args = [args[1], "--help"]
        if args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if near:
                hint = f"did you mean {near[0]}?"
            elif os.path.exists(args[0]):  # noqa: PTH110  a name that is no valid path is not there
                hint = f"did you mean edgepose run {args[0]}?"
            else:
                hint = f"expected one of {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; returns its exit code."""
        # Click stores the subcommand apart from its arguments; the attribute has another name since 8.2.
        kept = ("args", "_protected_args", "protected_args")
        has_command = any(vars(ctx).get(name) for name in kept)
        if ctx.params.pop("version"):
            from ..version import get_version

            print(f"edgepose {get_version()}", flush=True)
            return 0
        apply_common_options(ctx.params)
        if not has_command:
            print(self.get_help(ctx), flush=True)
            return 2
        return super().invoke(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command without importing any."""
        found = [
            CompletionItem(name, help=entry.summary) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]
        return found or super().shell_complete(ctx, incomplete)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first command to try, all commands by section, and examples."""
        self.format_usage(ctx, formatter)
        formatter.write(f"\n{_START}")
        width = max(map(len, COMMANDS)) + 2
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            formatter.write(f"\n{section}:\n")
            for name, entry in COMMANDS.items():
                if entry.section == section:
                    formatter.write(f"  {name:{width}}{entry.summary}\n")
        with formatter.section("Options"):
            formatter.write_dl([r for p in self.get_params(ctx) if (r := p.get_help_record(ctx)) is not None])
        formatter.write(f"\n{_EXAMPLES}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done; 1 a check failed, or some of several inputs failed; 2 wrong use or bad input.
    """
    _open_closed_streams()
    try:
        try:
            with raise_on_signals():
                return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            # Here, so that help texts are included. An error takes precedence over the exit code.
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe, as with `| head`: nothing is wrong.
        _drop_stdout()
        return 0
    except OSError as error:
        _drop_stdout()
        return _print_error("edgepose", f"cannot write to standard output: {error.strerror or error}")
    except KeyboardInterrupt as end:
        return get_exit_code(end)


def _run(arguments: list[str]) -> int:
    set_verbosity(Verbosity.NORMAL)
    command_line = CommandLine()
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        return shell_complete(command_line, {}, "edgepose", COMPLETION_VARIABLE, instruction)
    name = _name_command(arguments)
    try:
        with command_line.make_context("edgepose", arguments) as context:
            code = command_line.invoke(context)
        sys.stdout.flush()
        return int(code or 0)
    except click.exceptions.Exit as end:  # --help
        return end.exit_code
    except click.ClickException as error:
        name = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else name
        return _print_error(name, f"{describe_usage_error(error)} (see {name} --help)")
    except BrokenPipeError:
        raise
    except (EdgePoseError, ValueError, MemoryError) as error:
        show_traceback()
        return _print_error(name, str(error) or type(error).__name__)
    except OSError as error:
        show_traceback()
        _drop_stdout()
        return _print_error(name, f"cannot write the result: {error.strerror or error}")


def _name_command(arguments: Sequence[str]) -> str:
    """Return the command that the arguments call, with its subcommand, as error messages show it."""
    found = [position for position, word in enumerate(arguments) if word in COMMANDS][:1]
    words = [arguments[position] for position in found]
    if words == ["events"]:
        words += [word for word in arguments[found[0] + 1 :][:1] if not word.startswith("-")]
    return " ".join(["edgepose", *words])


def _open_closed_streams() -> None:
    """Make standard streams that the caller has closed (`>&-`) usable: a file opened later would take their place.

    Writing to a closed standard output fails, as it does in other programs.
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
    """Discard what could not be written: Python would try again, and fail again, at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _print_error(name: str, message: str) -> int:
    # A message quotes what came from outside: names in files may hold control characters.
    with suppress(OSError):  # there is no stderr to write to
        print(f"{name}: " + make_printable(mask_credentials(" ".join(message.split()))), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
