"""The command `edgepose completion`: print the completion script of a shell."""

from __future__ import annotations

from dataclasses import dataclass

import click
from click.shell_completion import get_completion_class

from .command import Argument, Choice, Command
from .main import COMPLETION_VARIABLE, CommandLine

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class CompletionOptions:
    """Values of the command line of `edgepose completion`."""

    shell: str


def run(options: CompletionOptions) -> int:
    """Print the script."""
    complete = get_completion_class(options.shell)
    if complete is None:
        raise click.UsageError(f"this version of click has no completion for {options.shell}")
    print(complete(CommandLine(), {}, "edgepose", COMPLETION_VARIABLE).source())
    return 0


command = Command(
    "completion",
    CompletionOptions,
    run,
    description="""\
Print a script that completes commands, options, model names and files with the Tab key.
Add one of the lines below to the configuration of your shell; for fish, run it once.""",
    examples="""\
  eval "$(edgepose completion bash)"  # in ~/.bashrc
  eval "$(edgepose completion zsh)"  # in ~/.zshrc
  edgepose completion fish > ~/.config/fish/completions/edgepose.fish  # once""",
    parameters=[Argument("shell", "bash, zsh or fish", type=Choice(SHELLS), metavar="SHELL")],
)
