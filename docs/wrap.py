"""Wrap paragraphs and list items of Markdown files that have a line of more than 100 columns.

`python docs/wrap.py FILE...`; without arguments, all pages in docs/. Tables, code and inline code stay as they are.
"""

import re
import sys
import textwrap
from pathlib import Path

MAX_COLUMNS = 100
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_ITEM = re.compile(r"\s*([-*]|\d+\.)\s+")
_MARKER = re.compile(r"\s*([-*+#|>]|\d+[.)])(\s|$)")


def wrap_block(block: list[str]) -> list[str]:
    """Wrap the lines of one paragraph or list item."""
    item = _ITEM.match(block[0])
    first = item[0] if item else re.match(r"\s*", block[0])[0]  # type: ignore[index]
    text = " ".join(line.strip() for line in block)[len(first.strip()) :].strip()
    # A code span is not broken.
    text = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", "\0"), text)
    indent = " " * len(first)
    # A dash or number at the start of a line would begin a list: then the lines are a little shorter.
    for columns in range(MAX_COLUMNS, MAX_COLUMNS - 20, -1):
        lines = textwrap.wrap(
            text,
            columns,
            initial_indent=first,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        if not any(_MARKER.match(line) for line in lines[1:]):
            return [line.replace("\0", " ") for line in lines]
    return block


def wrap(text: str) -> str:
    """Wrap the blocks with a long line; leave the others."""
    done: list[str] = []
    block: list[str] = []
    fence = ""
    for line in [*text.split("\n"), ""]:
        mark = _FENCE.match(line)
        is_fixed = bool(mark or fence or not line.strip() or line.startswith(("#", "|", "<")))
        is_code = line.startswith(("    ", "!")) and not block
        if is_fixed or is_code or _ITEM.match(line):
            done += wrap_block(block) if any(len(one) > MAX_COLUMNS for one in block) else block
            block = []
        if mark:
            fence = (mark[1] if not fence else "") if not fence or line.strip().startswith(fence) else fence
        if is_fixed or is_code:
            done.append(line)
        else:
            block.append(line)
    return "\n".join(done[:-1])


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(Path(__file__).parent.rglob("*.md")):
        before = path.read_text()
        if "\n<!-- Made by" not in f"\n{before}" and wrap(before) != before:
            path.write_text(wrap(before))
            print(path)
