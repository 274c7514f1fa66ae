"""A command with subcommands, such as `edgepose events test`, whose modules are imported when they are called."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from .command import apply_common_options, describe_help_option, join_words, list_options, make_common_options


class SubcommandEntry(NamedTuple):
    """Module and summary of a subcommand."""

    module: str
    summary: str


class CommandGroup(click.Group):
    """A command that only runs its subcommands."""

    def __init__(self, name: str, entries: Mapping[str, SubcommandEntry], *, description: str, examples: str) -> None:
        super().__init__(
            name,
            params=make_common_options(),
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            subcommand_metavar="COMMAND ...",
            no_args_is_help=False,
            invoke_without_command=True,
        )
        self.entries, self.description, self.examples = entries, description, examples

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return `--help`."""
        return describe_help_option(super().get_help_option(ctx))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand; None for an unknown name."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(entry.module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; an unknown one is refused with the nearest name."""
        if args[0] not in self.entries:
            near = difflib.get_close_matches(args[0], self.entries, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected {join_words(tuple(self.entries))}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; without one, show the help text. Returns the exit code."""
        apply_common_options(ctx.params)
        kept = ("args", "_protected_args", "protected_args")  # as in `CommandLine.invoke`
        if not any(vars(ctx).get(name) for name in kept):
            print(self.get_help(ctx), flush=True)
            return 2
        return super().invoke(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a subcommand without importing any."""
        found = [
            CompletionItem(name, help=entry.summary)
            for name, entry in self.entries.items()
            if name.startswith(incomplete)
        ]
        return found or super().shell_complete(ctx, incomplete)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, description, subcommands and examples."""
        self.format_usage(ctx, formatter)
        formatter.write(f"\n{self.description}\n")
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.entries.items()])
        for title, records in list_options(self.get_params(ctx), ctx).items():
            with formatter.section(title):
                formatter.write_dl(records)
        formatter.write(f"\nExamples:\n{self.examples}\n")
