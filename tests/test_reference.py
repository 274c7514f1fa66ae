"""The generated reference: pages are up to date, and the parser and the settings do what they say."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest
import reference_pages
from reference_pages.cli import list_commands
from reference_pages.docstrings import read_fields

from edgepose.device import config
from edgepose.device.events.config import EventsConfig
from edgepose.runtime.cli.command import Command
from edgepose.runtime.errors import InputError
from edgepose.runtime.schema import Limits, find_limits

DOCS = Path(__file__).resolve().parent.parent / "docs"
COMMANDS = {name: command for name, command, _ in list_commands()}
RULES = {
    "zone": "polygon = [[0, 0], [1, 0], [1, 1]]",
    "line": "points = [[0, 0], [1, 1]]",
    "posture": "",
    "fall": "",
    "gesture": "gesture = 'hand_raised'",
    "angle": "keypoints = ['shoulder', 'elbow', 'wrist']\nabove = 10",
    "repetitions": "preset = 'squat'",
    "expression": "expression = 'nose.x < 0'",
}
"""Required keys of each kind of rule."""
pytestmark = pytest.mark.once


def list_limited_keys() -> list[tuple[str, str, Limits]]:
    """Return section or kind of rule, key and limits of every number with a range."""
    sections = {name: kind for name, kind in get_type_hints(config.Config).items() if name != "events"}
    rules = {f"events.{name}": get_args(kind)[0] for name, kind in get_type_hints(EventsConfig).items()}
    return [
        (name, field.name, limits)
        for name, kind in (sections | rules).items()
        for field in fields(kind)
        if (limits := find_limits(get_type_hints(kind, include_extras=True)[field.name])) is not None and str(limits)
    ]


def list_options() -> list[tuple[str, click.Option]]:
    return [
        (name, param)
        for name, command in COMMANDS.items()
        for param in command.params
        if isinstance(param, click.Option)
    ]


def test_pages_are_up_to_date() -> None:
    files = reference_pages.make_files()
    for name, text in files.items():
        assert (DOCS / name).read_text() == text, f"{name} is out of date; run `make reference`"
    found = {path.relative_to(DOCS).as_posix() for path in reference_pages.list_generated(DOCS)}
    assert found <= set(files), "pages of commands that do not exist; run `make reference`"


def test_pages_are_written_and_old_ones_removed(tmp_path: Path) -> None:
    old = tmp_path / "reference/cli/gone.md"
    old.parent.mkdir(parents=True)
    old.touch()
    reference_pages.write_pages(tmp_path)
    assert not old.exists()
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == set(
        reference_pages.make_files()
    )


def test_tables_have_the_same_number_of_cells_in_each_row() -> None:
    for name, text in reference_pages.make_files().items():
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE) if name.endswith(".md") else []:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, (name, block)


def test_links_to_sections_exist() -> None:
    for name, text in reference_pages.make_files().items():
        headings = {
            re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        }
        for anchor in re.findall(r"\]\(#([\w-]+)\)", text):
            assert anchor in headings, f"{name}: #{anchor}"


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if isinstance(command, Command)])
def test_examples_can_be_typed(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, Command)
    words = shlex.shlex(command.examples.replace("\\\n", ""), posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, "#"
    lines = command.examples.replace("\\\n", " ").splitlines()
    assert lines
    for line in lines:
        calls = [part.split(">")[0] for part in re.split(r"; | \| |\$\(", line.partition("  #")[0])]
        calls = [call.strip().rstrip(')"') for call in calls if call.strip().startswith("edgepose ")]
        assert calls, line
        for call in calls:
            _, *arguments = shlex.split(call)
            count = len(name.split())
            used = " ".join(arguments[:count]) if " ".join(arguments[:count]) in COMMANDS else arguments[0]
            target = COMMANDS[used]
            assert isinstance(target, Command), call
            target.parse_options(arguments[len(used.split()) :])


@pytest.mark.parametrize(("name", "option"), list_options(), ids=lambda value: getattr(value, "name", value))
def test_the_default_in_the_help_text_is_the_default(name: str, option: click.Option) -> None:
    if option.is_flag or option.required or option.multiple or option.default in (None, "", ()):
        return
    if option.name == "port":
        assert option.default == 0
        return  # the system chooses a free one
    if isinstance(option.default, str | int | float):
        shown = f"{option.default:g}" if isinstance(option.default, float) else str(option.default)
        assert re.search(rf"\(default: {re.escape(shown)}\b|\(default: {re.escape(shown)},", option.help or ""), name


def test_options_with_the_same_values_read_the_same() -> None:
    """Options that several commands have, with the same placeholder, have one description each."""
    own = {
        "--json",
        "--draw",
        "--seconds",
        "--fps",
        "--config",
        "--privacy",
        "--annotations",
        "--min-score",
        "--report",
    }
    texts: dict[tuple[str, str], set[str]] = {}
    for _, option in list_options():
        if option.opts[-1] not in own:
            texts.setdefault((option.opts[-1], str(option.metavar)), set()).add(
                re.sub(r" \(default: .*\)$", "", option.help or "")
            )
    assert not {key: found for key, found in texts.items() if len(found) > 1}


def test_every_command_says_its_exit_codes() -> None:
    for name, command in COMMANDS.items():
        if isinstance(command, Command):
            help_text = command.get_help(click.Context(command, info_name=name))
            assert re.search(r"\nExit codes:\n  0 +done\n", help_text), name
            assert all(not text.endswith(".") for text in command.exit_codes.values())


@pytest.mark.parametrize(("place", "key", "limits"), list_limited_keys(), ids=lambda value: str(value))
def test_ranges_of_the_configuration_are_those_of_the_page(place: str, key: str, limits: Limits) -> None:
    def check(number: float) -> None:
        value: Any = [number] * 2 if key == "sensor_size" else number
        kind = place.removeprefix("events.")
        required = f"name = 'r'\n{RULES[kind]}\n" if place.startswith("events.") else ""
        required = "\n".join(line for line in required.splitlines() if not line.startswith(f"{key} ="))
        table = f"[[{place}]]" if place.startswith("events.") else f"[{place}]"
        config.parse(f"{table}\n{required}\n{key} = {value}\n", Path("camera.toml")).check()

    outside = [limits.least - 1] if limits.least is not None else []
    outside += [limits.most + 1] if limits.most is not None else []
    outside += [limits.above] if limits.above is not None else []
    for number in outside:
        with pytest.raises((InputError, ValueError), match=re.escape(f"{key}: expected {limits}, got ")):
            check(int(number))
    inside = [end for end in (limits.least, limits.most) if end is not None]
    for number in inside:
        try:
            check(int(number) if number == int(number) else number)
        except (InputError, ValueError) as error:  # it can contradict another key
            assert f"{key}: expected {limits}" not in str(error)


def test_every_key_and_entry_is_described() -> None:
    for kind in (config.ModelConfig, config.CameraConfig, config.LoopConfig, config.OutputConfig, config.ClipsConfig):
        assert set(read_fields(kind)) == {field.name for field in fields(kind)}


def test_the_printed_configuration_has_every_key() -> None:
    for name, kind in get_type_hints(config.Config).items():
        if name == "events":
            continue
        section = config.EXAMPLE.partition(f"[{name}]")[2].partition("\n\n")[0]
        for field in fields(kind):
            assert re.search(rf"^(# )?{field.name} =|^\[{name}\.{field.name}\]", section, re.MULTILINE), (
                f"{name}.{field.name}"
            )


@pytest.mark.parametrize("text", ["[camera]\nfps = 1000.0001", "[clips]\nfps = 61", "[loop]\nevery_nth = 0"])
def test_a_number_out_of_range_names_its_line_and_itself(text: str) -> None:
    value = text.rpartition(" ")[2]
    with pytest.raises(InputError, match=rf"camera\.toml: line 2: .*: expected .*, got {re.escape(value)}$"):
        config.parse(f"{text}\n", Path("camera.toml"))
