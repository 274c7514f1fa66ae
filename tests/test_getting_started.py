"""The commands of the README and of the getting-started pages: all options exist, and blocks print what is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from edgepose.runtime.cli.main import CommandLine

from .conftest import HANG_S, HAS_TENSORFLOW, ROOT, find_weights
from .page_blocks import Block, find_difference, read_blocks, run_blocks, write_input_files

pytestmark = pytest.mark.once
PAGES = ("workstation", "python", "raspberry-pi")
RUN_PAGES = ("workstation", "python")
GUIDES = ("docs/guides/convert.md", "docs/guides/quantize.md")


def read_page(name: str) -> list[Block]:
    return read_blocks((ROOT / f"docs/getting-started/{name}.md").read_text())


def list_edgepose_commands(blocks: list[Block]) -> list[list[str]]:
    """Return the arguments of each `edgepose` in the shell blocks."""
    found = []
    for block in blocks:
        for command in block.commands if not block.is_python else ():
            words = shlex.shlex(command.text, posix=True, punctuation_chars="|&;<>")
            words.whitespace_split = True
            words.commenters = "#"
            part: list[str] = []
            for word in [*words, ";"]:
                if not set(word) <= set("|&;<>"):
                    part.append(word)
                elif part[:1] == ["edgepose"]:
                    found.append(part[1:])
                    part = []
                else:
                    part = []
    return found


def check_options(group: click.Group, arguments: list[str], parent: click.Context | None = None) -> None:
    """Parse a command line as `edgepose` does, without running it."""
    command: Any = group.get_command(click.Context(group, parent), arguments[0])
    assert command is not None, f"no command {arguments[0]}"
    if isinstance(command, click.Group):
        check_options(command, arguments[1:])
    else:
        command.make_context(arguments[0], list(arguments[1:]))


def check_page(blocks: list[Block], folder: Path) -> None:
    """Run blocks and compare their output with the page."""
    wrong = []
    for block, command, output, code in run_blocks(blocks, folder, HANG_S):
        expected_code = block.exit_code if command is block.commands[-1] else 0
        difference = find_difference(command.output, output, block.figures_vary)
        if difference or code != expected_code:
            wrong.append(f"line {block.line}: {command.text}: exit code {code}: {difference}\n" + "\n".join(output))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("page", RUN_PAGES)
def test_what_a_page_shows_is_what_its_commands_print(page: str, tmp_path: Path) -> None:
    blocks = [block for block in read_page(page) if not block.skip and "tensorflow" not in block.needs]
    for name in {name for block in blocks for name in block.needs}:
        pytest.importorskip(name, reason=f"{name} is not installed (an extra)")
    write_input_files(tmp_path)
    check_page(blocks, tmp_path)


def test_the_commands_of_the_raspberry_pi_page_that_need_no_board(tmp_path: Path) -> None:
    """Run those that neither use a board nor a camera; the options of all others are checked below."""
    safe = re.compile(r"edgepose (camera --print-config|profile .*--estimate)")
    commands = [
        command for block in read_page("raspberry-pi") for command in block.commands if safe.match(command.text)
    ]
    assert commands
    results = run_blocks([Block(0, False, tuple(commands))], tmp_path, HANG_S)
    assert [code for *_, code in results] == [0] * len(commands), results


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed (extra `convert`)")
@pytest.mark.parametrize("page", RUN_PAGES)
def test_the_conversions_of_a_page(page: str, tmp_path: Path) -> None:
    find_weights("mobilenet_thin")
    blocks = [block for block in read_page(page) if "tensorflow" in block.needs]
    assert blocks
    write_input_files(tmp_path)
    check_page(blocks, tmp_path)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/getting-started/{name}.md" for name in PAGES), *GUIDES])
def test_all_commands_and_options_exist(page: str) -> None:
    """Parse every command, also those that need a board or a camera."""
    commands = list_edgepose_commands(read_blocks((ROOT / page).read_text()))
    assert commands or page.endswith("python.md")
    for arguments in commands:
        try:
            check_options(CommandLine(), arguments)
        except click.ClickException as error:
            pytest.fail(f"{page}: edgepose {shlex.join(arguments)}: {error.format_message()}")


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = read_blocks((ROOT / "README.md").read_text())
    [example] = [block for block in blocks if block.is_python]
    [first] = [
        command for block in blocks for command in block.commands if command.text.startswith("edgepose run photo")
    ]
    write_input_files(tmp_path)
    shell = Block(0, False, (first,))
    results = run_blocks([example, shell], tmp_path, HANG_S)
    assert [code for *_, code in results] == [0, 0], results
    assert len(results[0][2]) == 2
    assert (tmp_path / "drawn.jpg").is_file()
    assert (tmp_path / "drawn/photo.jpg").is_file()


def test_the_readme_is_short_and_its_links_exist() -> None:
    text = (ROOT / "README.md").read_text()
    lines = text.splitlines()
    assert len(lines) < 120
    assert [line for line in lines if len(line) > 100] == []
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
    files = [(link or image).partition("#")[0] for link, image in links if "://" not in (link or image)]
    assert len(files) > 10
    assert [name for name in files if not (ROOT / name).exists()] == []
    images = [ROOT / image for _, image in links if image]
    assert len(images) == 2
    assert [path.name for path in images if path.stat().st_size > 150_000] == []


PAGE = """
```console
$ echo "3 people, 5.0 ms"
3 people, 9.1 ms
```
<!-- test: figures vary; exit 3 -->
```console
$ value=7
$ echo "$value boards"; exit_code() { return 3; }; exit_code
9 boards
```
<!-- test: skip needs a camera -->
```console
$ false
```
```python
print("a", 1.5, "b")
```
```text
a 1.52 ...
```
"""


def test_the_check_accepts_what_may_vary(tmp_path: Path) -> None:
    blocks = read_blocks(PAGE)
    assert [block.skip for block in blocks] == ["", "", "needs a camera", ""]
    check_page([block for block in blocks if not block.skip], tmp_path)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("3 people, 9.1 ms", "4 people, 9.1 ms"),
        ("3 people, 9.1 ms", "3 persons, 9.1 ms"),
        ("3 people, 9.1 ms", "3 people, 9.1 ms\nand more"),
        ("exit 3", "exit 4"),
        ("a 1.52 ...", "a 1.7 ..."),
        ("a 1.52 ...", "...\nc"),
        ("echo", "no_such_program"),
    ],
)
def test_the_check_fails(right: str, wrong: str, tmp_path: Path) -> None:
    blocks = [block for block in read_blocks(PAGE.replace(right, wrong)) if not block.skip]
    with pytest.raises(AssertionError, match="line"):
        check_page(blocks, tmp_path)


def test_wrong_options_and_unknown_comments_are_found() -> None:
    [arguments] = list_edgepose_commands(read_blocks("```\n$ edgepose deploy pi@board --no-such-option  # text\n```\n"))
    with pytest.raises(click.ClickException):
        check_options(CommandLine(), arguments)
    with pytest.raises(ValueError, match="unknown comment"):
        read_blocks("<!-- test: skipped it -->\n```\n$ ls\n```\n")


def test_ellipsis_lines_stand_for_any_lines() -> None:
    assert find_difference(("a", "...", "d"), ["a", "b", "c", "d"]) == ""
    assert find_difference(("a", "...", "d"), ["a", "d"]) == ""
    assert find_difference(("a", "..."), ["a"]) == ""
    assert find_difference(("a", "...", "e"), ["a", "b", "c", "d"]) != ""
    assert find_difference(("a",), ["edgepose: scoring images: image 3 of 50, about 30 s left", "a"]) == ""
