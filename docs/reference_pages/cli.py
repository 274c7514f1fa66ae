"""Pages of the command line: one per command, from the parser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from posixpath import relpath

import click

from edgepose.runtime.cli.command import EXIT_CODES, Choice, Command, list_options
from edgepose.runtime.cli.command_group import CommandGroup
from edgepose.runtime.cli.main import COMMANDS, CommandLine

from .markdown import TITLES, link_pages, make_code, make_notice, make_table, mark_code, wrap

_FOLDER = "reference/cli"
_GUIDES: Mapping[str, tuple[str, ...]] = {
    "run": ("reference/output.md", "reference/message.md", "getting-started/workstation.md"),
    "camera": ("guides/camera.md", "reference/configuration.md", "reference/message.md", "guides/security.md"),
    "events": ("guides/events.md", "reference/configuration.md"),
    "events test": ("guides/events.md", "reference/configuration.md", "reference/message.md"),
    "events edit": ("guides/events.md", "reference/configuration.md"),
    "events check": ("guides/events.md", "reference/configuration.md"),
    "models": ("reference/models.md",),
    "info": ("reference/model-file.md", "reference/message.md"),
    "convert": ("guides/convert.md", "guides/quantize.md", "reference/skeletons.md", "reference/model-file.md"),
    "profile": ("guides/profile.md", "reference/message.md"),
    "eval": ("reference/models.md", "explanation/measurements.md"),
    "deploy": ("getting-started/raspberry-pi.md", "guides/fleet.md", "guides/security.md"),
    "status": ("guides/fleet.md",),
    "logs": ("guides/fleet.md", "troubleshooting.md"),
    "rollback": ("guides/fleet.md",),
    "doctor": ("troubleshooting.md", "getting-started/raspberry-pi.md"),
    "completion": (),
}
"""Pages that a command is linked to."""
_DEFAULT = re.compile(r" ?\(default: ((?:[^()]|\([^()]*\))*)\)")
_REQUIRED = "  [required]"
_WORDS = ("never", "now", "all", "Ctrl-C", "")
"""Defaults that are not values."""
_COMMAND_NAME = re.compile(r"`edgepose (\w+)`")


def list_commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Return name, command and context of every command and subcommand, as typed after `edgepose`."""
    root = CommandLine()
    root_context = _make_context(root, "edgepose", None)
    for name in root.list_commands(root_context):
        command = root.get_command(root_context, name)
        assert command is not None
        context = _make_context(command, name, root_context)
        yield name, command, context
        if isinstance(command, CommandGroup):
            for part in command.list_commands(context):
                subcommand = command.get_command(context, part)
                assert subcommand is not None
                yield f"{name} {part}", subcommand, _make_context(subcommand, part, context)


def _make_context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def make_pages() -> dict[str, str]:
    """Return the text of every page by its path in docs/."""
    pages = {f"{_FOLDER}/index.md": _make_index()}
    for name, command, context in list_commands():
        page = get_page(name)
        make = _make_group_page if isinstance(command, CommandGroup) else _make_command_page
        pages[page] = make(name, command, context, page)
    return pages


def get_page(name: str) -> str:
    """Return the path of the page of a command in docs/."""
    return f"{_FOLDER}/{name.replace(' ', '-')}.md"


def _make_index() -> str:
    root = CommandLine()
    context = _make_context(root, "edgepose", None)
    sections: dict[str, list[tuple[str, str]]] = {}
    for name, _, _ in list_commands():
        entry = COMMANDS[name.split()[0]]
        summary = entry.summary if " " not in name else _get_summary(name)
        sections.setdefault(entry.section, []).append((f"[`edgepose {name}`]({Path(get_page(name)).name})", summary))
    parts = [
        make_notice("the command-line parser"),
        "# Command line\n",
        wrap("Every command prints its options and examples with `--help`; the pages below contain the same text.")
        + "\n",
        make_code("edgepose [OPTIONS] COMMAND ...", "text"),
    ]
    for section, rows in sections.items():
        parts += [f"## {section}\n", make_table(("command", "does"), rows)]
    codes = {
        **EXIT_CODES,
        1: "a check failed, or some of several inputs or boards failed; the page of the command says which",
        130: "interrupted by Ctrl-C",
        143: "ended by SIGTERM",
    }
    options = [row for rows in list_options(root.get_params(context), context).values() for row in rows]
    parts += [
        "## Options\n",
        make_table(("option", "meaning"), [(f"`{names}`", text) for names, text in options]),
        "## Exit codes\n",
        make_table(("code", "meaning"), [(str(code), meaning) for code, meaning in sorted(codes.items())]),
    ]  # fmt: skip
    return "\n".join(parts)


def _make_group_page(name: str, command: click.Command, context: click.Context, page: str) -> str:
    assert isinstance(command, CommandGroup)
    rows = [
        (f"[`edgepose {name} {part}`]({Path(get_page(f'{name} {part}')).name})", entry.summary)
        for part, entry in command.entries.items()
    ]
    return "\n".join(
        [
            *_make_head(name, command.description, context, page),
            "## Commands\n",
            make_table(("command", "does"), rows),
            *_make_options(list_options(command.get_params(context), context), command, page),
            *_make_end(name, command.examples, page),
        ]
    )


def _make_command_page(name: str, command: click.Command, context: click.Context, page: str) -> str:
    assert isinstance(command, Command)
    parts = _make_head(name, command.description, context, page)
    if arguments := command.list_arguments(context):
        parts += ["## Arguments\n", make_table(("argument", "meaning"), _make_rows(arguments, {}, page))]
    parts += _make_options(command.list_options(context), command, page)
    codes = [(str(code), mark_code(meaning)) for code, meaning in command.exit_codes.items()]
    parts += ["## Exit codes\n", make_table(("code", "meaning"), codes)]
    return "\n".join([*parts, *_make_end(name, command.examples, page)])


def _make_head(name: str, description: str, context: click.Context, page: str) -> list[str]:
    usage = " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
    return [
        make_notice("the command-line parser"),
        f"# edgepose {name}\n",
        make_code(usage, "text"),
        _make_description(description, page) + "\n",
    ]


def _make_description(text: str, page: str) -> str:
    """Convert the text of a description: paragraphs are wrapped, indented lines become a list."""
    parts = []
    for part in text.split("\n\n"):
        before = [line for line in part.splitlines() if not line.startswith("  ")]
        listed = [line.strip().removeprefix("- ") for line in part.splitlines() if line.startswith("  ")]
        body = wrap(_link(" ".join(before), page))
        parts.append(body + "".join(f"\n- {_link(line, page)}" for line in listed).replace("\n", "\n\n", 1))
    return "\n\n".join(parts)


def _make_options(sections: Mapping[str, list[tuple[str, str]]], command: click.Command, page: str) -> list[str]:
    choices = {name: param.type.words for param in command.params if isinstance(param.type, Choice)
               for name in param.opts}  # fmt: skip
    parts = ["## Options\n"]
    for title, rows in sections.items():
        parts += [f"### {title}\n", make_table(("option", "meaning"), _make_rows(rows, choices, page))]
    return parts


def _make_rows(rows: list[tuple[str, str]], choices: Mapping[str, tuple[str, ...]], page: str) -> list[tuple[str, str]]:
    """Return the rows of a table of options or arguments. Two columns: more are too narrow on a phone."""
    table = []
    for names, text in rows:
        text = text.replace(_REQUIRED, " (required)")
        words = next((choices[name.split()[0]] for name in names.split(", ") if name.split()[0] in choices), ())
        if words:
            meaning, end = (text[: found.start()], found[0]) if (found := _DEFAULT.search(text)) else (text, "")
            text = f"{meaning}; one of " + ", ".join(f"`{word}`" for word in words) + end
            names = re.sub(r" \S+\|\S+$", " WORD", names)
        table.append((f"`{names}`", _link(_DEFAULT.sub(_mark_default, text), page)))
    return table


def _mark_default(match: re.Match[str]) -> str:
    value = match[1]
    is_value = value not in _WORDS and re.fullmatch(r"[\w.:-]+", value)
    return f" (default: `{value}`)" if is_value else match[0]


def _make_end(name: str, examples: str, page: str) -> list[str]:
    lines, _, note = examples.partition("\n\n")
    parts = ["## Examples\n", make_code("\n".join(line.removeprefix("  ") for line in lines.splitlines()), "sh")]
    if note:
        parts.append(wrap(note) + "\n")
    if guides := _GUIDES[name]:
        links = [f"- [{TITLES[guide]}]({relpath(guide, _FOLDER)})\n" for guide in guides]
        parts += ["## See also\n", "".join(links)]
    return parts


def _link(text: str, page: str) -> str:
    def link(match: re.Match[str]) -> str:
        target = Path(get_page(match[1])).name
        is_known = match[1] in COMMANDS and f"{_FOLDER}/{target}" != page
        return f"[{match[0]}]({target})" if is_known else match[0]

    return link_pages(_COMMAND_NAME.sub(link, mark_code(text)), page)


def _get_summary(name: str) -> str:
    group, part = name.split()
    command = next(command for known, command, _ in list_commands() if known == group)
    assert isinstance(command, CommandGroup)
    return command.entries[part].summary
