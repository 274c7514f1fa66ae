"""Runs the code blocks of a Markdown page and compares their output with the page.

A block is a fence with lines that start with `$ ` (commands of a shell, each with its output below it) or a fence
`python`, with an optional fence `text` right below it for its output. All blocks of a page run in one shell and one
folder; each Python block is its own process. `...` stands for any text in a line, or for any lines. Numbers may
differ by 5 %, those of time or speed by any amount.

A comment in the line above a fence says more, separated by `;`:

    <!-- test: skip REASON -->      the block is not run
    <!-- test: needs MODULE ... --> it needs these packages; `tensorflow` is left to the slow test
    <!-- test: figures vary -->     numbers may differ by any amount
    <!-- test: exit 1 -->           exit code of the last command

`python -m tests.page_blocks PAGE` prints what the blocks of a page really print.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2

from edgepose.runtime.synthetic import Scene

from .scene_dataset import write_dataset, write_video

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MEASURED = re.compile(r"\s*(ms|s|FPS)\b")
_STAGE = re.compile(r"(preprocess|preprocessing|inference|decode) $")
_PROGRESS = re.compile(r"edgepose: .*, about \d+ s left")
_OUTSIDE = re.compile(r"(?:^|\s)(?:[\w-]+@[\w.-]+|@[\w-]+\.txt|(?:sudo|pip|make|git|ssh|scp|ssh-copy-id)\s)")
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Command:
    """A command of the shell with the lines that the page shows below it."""

    text: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A fence of a page.

    Attributes:
        line: Line number of the fence.
        commands: Commands of a shell block, or one command with the code of a Python block.
        skip: Why the block is not run; empty if it is run.
        needs: Modules without which it cannot be run.
        figures_vary: True if numbers in the output are not compared.
        exit_code: Exit code of the last command.
    """

    line: int
    is_python: bool
    commands: tuple[Command, ...]
    skip: str = ""
    needs: tuple[str, ...] = ()
    figures_vary: bool = False
    exit_code: int = 0


def read_blocks(page: str) -> list[Block]:
    """Return the shell and Python blocks of a page.

    Raises:
        ValueError: A comment has an unknown key.
    """
    lines, blocks, number = page.splitlines(), [], 0
    while number < len(lines):
        if not lines[number].startswith("```"):
            number += 1
            continue
        start, language = number, lines[number][3:].strip()
        body, number = _read_fence(lines, number)
        options = _read_comment(lines[start - 1] if start else "")
        if language == "python":
            output: list[str] = []
            if lines[number : number + 1] == ["```text"]:
                output, number = _read_fence(lines, number)
            blocks.append(Block(start + 1, True, (Command("\n".join(body), tuple(output)),), **options))
        elif any(line.startswith("$ ") for line in body):
            commands = tuple(_read_commands(body))
            if not options and any(_OUTSIDE.search(command.text) for command in commands):
                options = {"skip": "needs a board, or installs something"}
            blocks.append(Block(start + 1, False, commands, **options))
    return blocks


def _read_fence(lines: list[str], number: int) -> tuple[list[str], int]:
    end = lines.index("```", number + 1)
    return lines[number + 1 : end], end + 1


def _read_commands(body: list[str]) -> list[Command]:
    commands: list[tuple[str, list[str]]] = []
    for line in body:
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif line.startswith("> "):  # a command in several lines
            commands[-1] = (f"{commands[-1][0]}\n{line[2:]}", [])
        else:
            commands[-1][1].append(line)
    return [Command(text, tuple(output)) for text, output in commands]


def _read_comment(line: str) -> dict[str, object]:
    found = re.fullmatch(r"<!-- test: (.*) -->", line)
    options: dict[str, object] = {}
    for part in found[1].split(";") if found else ():
        key, _, rest = part.strip().partition(" ")
        if key == "skip" and rest:
            options["skip"] = rest
        elif key == "needs":
            options["needs"] = tuple(rest.split())
        elif (key, rest) == ("figures", "vary"):
            options["figures_vary"] = True
        elif key == "exit":
            options["exit_code"] = int(rest)
        else:
            raise ValueError(f"unknown comment: {line}")
    return options


def write_input_files(folder: Path) -> None:
    """Write the files that pages use as those of the reader: `photo.jpg`, `photos/`, `clip.mp4`, `val/`, `val.json`."""
    photo = Scene(2, 640, 480).render_frame(0).image
    (folder / "photos").mkdir()
    for name in ("photo.jpg", "photos/1.jpg", "photos/2.jpg"):
        cv2.imwrite(str(folder / name), photo)
    write_video(folder / "clip.avi", 25).rename(folder / "clip.mp4")
    dataset = write_dataset(folder / "dataset")
    (dataset / "images").rename(folder / "val")
    (dataset / "annotations.json").rename(folder / "val.json")


def run_blocks(blocks: list[Block], folder: Path, timeout_s: float) -> list[tuple[Block, Command, list[str], int]]:
    """Run blocks in one shell in this folder; return each command with its output lines and its exit code."""
    programs, results = folder / ".bin", folder / ".results"
    programs.mkdir()
    results.mkdir()
    for name, command in (("edgepose", "-m edgepose.runtime.cli"), ("python", ""), ("python3", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n')
        (programs / name).chmod(0o755)
    script, order = [], []
    for block in blocks:
        for command in block.commands:
            place, text = results / str(len(order)), command.text
            order.append((block, command, place))
            if block.is_python:
                Path(f"{place}.py").write_text(text)
                text = f"python {shlex.quote(f'{place}.py')}"
            script.append(f"{{ {text}\n}} > {place}.out 2>&1 < /dev/null\necho $? > {place}.code\n")
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / ".cache"),
        "EDGEPOSE_NAME": "laptop",
    }
    subprocess.run(["bash", "-c", "".join(script)], cwd=folder, env=environment, check=True, timeout=timeout_s)
    return [
        (block, command, Path(f"{place}.out").read_text().splitlines(), int(Path(f"{place}.code").read_text()))
        for block, command, place in order
    ]


def find_difference(expected: tuple[str, ...], real: list[str], figures_vary: bool = False) -> str:
    """Return the first expected line that does not follow in the output, empty if the output is as expected.

    Lines of progress are left out on both sides: they depend on the speed of the machine.
    """
    cleaned = [[line.rstrip() for line in lines if not _PROGRESS.fullmatch(line)] for lines in (expected, real)]
    return _compare(*cleaned, figures_vary)


def _compare(expected: list[str], real: list[str], figures_vary: bool) -> str:
    for number, line in enumerate(expected):
        rest = real[number:]
        if line.strip() == "...":
            found = [_compare(expected[number + 1 :], rest[first:], figures_vary) for first in range(len(rest) + 1)]
            return min(found, key=len)
        if not rest or not _matches(line, rest[0], figures_vary):
            return f"expected {line!r}, got {rest[0] if rest else 'the end'!r}"
    return f"expected the end, got {real[len(expected)]!r}" if len(real) > len(expected) else ""


def _matches(expected: str, real: str, figures_vary: bool) -> bool:
    """Compare two lines: numbers by value, columns with any number of spaces, `...` with any text."""
    texts, numbers, free = [], [], []
    end = 0
    for found in _NUMBER.finditer(expected):
        texts.append(expected[end : found.start()])
        numbers.append(float(found[0]))
        is_measured = _MEASURED.match(expected, found.end()) or _STAGE.search(texts[-1])
        free.append(figures_vary or is_measured is not None)
        end = found.end()
    texts.append(expected[end:])
    # A number that ends in a column moves the spaces beside it, and a line of a table the dashes.
    patterns = [re.sub(r"(?:\\ )+", r" *", re.escape(text)).replace(r"\.\.\.", ".*") for text in texts]
    fits = re.fullmatch(r"(\d+(?:\.\d+)?)".join(patterns), real)
    if fits is None:
        return False
    values = [float(value) for value in fits.groups()]
    return all(
        any_value or abs(value - number) <= _TOLERANCE * abs(number)
        for value, number, any_value in zip(values, numbers, free, strict=True)
    )


def main() -> None:
    """Print the blocks of the pages on the command line with their real output."""
    for page in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as place:
            write_input_files(Path(place))
            blocks = [block for block in read_blocks(Path(page).read_text()) if not block.skip]
            for block, command, output, code in run_blocks(blocks, Path(place), 3600):
                wrong = find_difference(command.output, output, block.figures_vary)
                print(f"--- {page}:{block.line}: exit code {code}{f': {wrong}' if wrong else ''}")
                print("\n".join([command.text if block.is_python else f"$ {command.text}", *output]))


if __name__ == "__main__":
    main()
