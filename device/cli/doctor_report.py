"""Report of `edgepose doctor`: a file to attach to an issue, without names of boards, users and networks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import gmtime, strftime

from ...runtime.io.atomic import write_text
from ...runtime.io.printable import make_printable
from ...runtime.version import __version__
from ..deploy.check import Check
from ..deploy.facts import Facts
from ..deploy.hosts import Target

_SIGNS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED ", "missing": "-      "}
_PRIVATE_FACTS = ("host", "name", "user", "user_groups", "groups", "camera_listing", "candidates")
"""Not in the table of facts: private, or too long. The camera listing has its own section."""
_COMMON_NAMES = ("", "root", "pi", "raspberrypi", "localhost", "edgepose")
"""Names that tell nothing about the owner of a board, or that are words of other texts."""


@dataclass(frozen=True)
class Section:
    """The part of one board."""

    board: str
    facts: Facts
    checks: Sequence[Check]


def format_checks(name: str, checks: Sequence[Check]) -> list[str]:
    """Format the checks of a board as lines of text."""
    lines = [name]
    for check in checks:
        lines.append(f"  {_SIGNS[check.verdict]}  {check.name:18} {check.seen}")
        if check.fix and check.verdict != "ok":
            lines.append(f"           {'':18} -> {check.fix}")
    return lines


def write(path: Path, sections: Sequence[Section], problems: Mapping[str, str], targets: Sequence[Target]) -> None:
    """Write the report.

    Args:
        path: File to write.
        sections: The boards that answered.
        problems: Why the other boards did not answer.
        targets: All boards, whose addresses are replaced.

    Raises:
        OutputError: The file cannot be written.
    """
    lines = [
        "# edgepose doctor", "",
        f"edgepose {__version__}, {strftime('%Y-%m-%d %H:%M', gmtime())} UTC. Names of boards and users are replaced.",
    ]  # fmt: skip
    for section in sections:
        lines += ["", *_format_section(section)]
    for name, problem in problems.items():
        lines += ["", f"## {name}", "", f"no answer: {make_printable(problem)}"]
    write_text(path, _replace_names("\n".join(lines) + "\n", sections, targets))


def _format_section(section: Section) -> list[str]:
    known = {key: value for key, value in asdict(section.facts).items() if key not in _PRIVATE_FACTS}
    checks = [*format_checks(section.board, section.checks)[1:], "", *section.facts.camera_listing.splitlines()]
    return [
        f"## {section.board}", "", "```", *map(_quote_line, checks), "```",
        "", "```json", *map(_quote_line, json.dumps(known, indent=1).splitlines()), "```",
    ]  # fmt: skip


def _quote_line(line: str) -> str:
    """Return a line from a board so that it cannot end the code block."""
    return make_printable(line).replace("```", "` ` `")


def _replace_names(text: str, sections: Sequence[Section], targets: Sequence[Target]) -> str:
    """Replace addresses, host names, display names and user names by neutral words."""
    words: dict[str, str] = {}
    for number, target in enumerate(targets, 1):
        words |= {target.name: f"board {number}", target.host: f"HOST{number}", target.user or "": f"USER{number}"}
    for number, section in enumerate(sections, 1):
        seen = section.facts
        words |= {seen.host: f"HOST{number}", seen.name: f"NAME{number}", seen.user: f"USER{number}"}
    shown = {make_printable(word): words[word] for word in words if word not in _COMMON_NAMES}
    if not shown:
        return text
    longest_first = sorted(shown, key=len, reverse=True)
    pattern = rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"
    return re.sub(pattern, lambda match: shown[match[0]], text)
