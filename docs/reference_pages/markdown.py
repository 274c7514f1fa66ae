"""Markdown of the reference pages."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from posixpath import relpath

WIDTH = 100
_CODE = re.compile(
    r"""(?<![\w`./])(?:
        --?[a-z][\w-]* | -(?=[\s,]) | \[\w+\](?=\s)       # --option, -o, - (stdin), [table]
        | \w+://[^\s,;)]* | /dev/\w+ | ~/[\w./]+ | \*\.\w+   # addresses, paths, patterns
        | @FILE | \w+@\w+\[:\w+\] | \w+:[A-Z]\w+ | \w+:N\b | \w+\[:[A-Z]+\] 
        | \w+\.(?:html|mp4\S*|jsonl|tflite|toml)\b | \.(?:tflite|toml|jsonl|html|pb|keras|h5|weights\.h5|npz|npy|xml
        | bin|onnx|pth|pt)\b | EDGEPOSE_\w+ | HOST\sname=NAME
    )""",
    re.VERBOSE,
)
TITLES = {
    "reference/output.md": "Output formats", "reference/message.md": "Messages and JSON Schemas",
    "reference/configuration.md": "Configuration file", "reference/models.md": "Models",
    "reference/model-file.md": "The model file", "reference/skeletons.md": "Skeletons",
    "getting-started/workstation.md": "Getting started on a workstation",
    "getting-started/raspberry-pi.md": "Getting started on a Raspberry Pi",
    "guides/clips.md": "Clips of events", "guides/camera.md": "The camera loop",
    "guides/events.md": "Events", "guides/security.md": "Security",
    "guides/convert.md": "Convert a network", "guides/quantize.md": "Quantize a network",
    "guides/profile.md": "Measure models", "guides/fleet.md": "Deploy to many boards",
    "explanation/measurements.md": "Measurements", "troubleshooting.md": "Troubleshooting",
}  # fmt: skip
"""Names of pages in links."""
_PAGE_NAME = re.compile(r"docs/([\w/-]+\.md)")


def make_notice(origin: str) -> str:
    """Return the comment at the top of a generated page."""
    return f"<!-- Made by `make reference` from {origin}. Edit the source, not this page. -->\n"


def make_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def make_code(text: str, language: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{text}\n```\n"


def mark_code(text: str) -> str:
    """Put options, addresses, paths and placeholders into backquotes: otherwise `--` becomes a dash."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _CODE.sub(r"`\g<0>`", part) for part in parts)


def wrap(text: str) -> str:
    """Wrap the paragraphs of a text; words in backquotes are not broken."""
    kept = re.sub(r"`[^`\n]*`", lambda match: match[0].replace(" ", "\0"), text)
    parts = [textwrap.fill(part, WIDTH, break_long_words=False, break_on_hyphens=False) for part in kept.split("\n\n")]
    return "\n\n".join(parts).replace("\0", " ")


def link_pages(text: str, page: str) -> str:
    """Turn names of pages, such as docs/guides/events.md, into links that are relative to a page in docs/."""

    def link(match: re.Match[str]) -> str:
        target = relpath(match[1], page.rpartition("/")[0])
        return f"[{TITLES.get(match[1], match[1].removesuffix('.md'))}]({target})"

    return _PAGE_NAME.sub(link, text)
