"""Every message that docs/troubleshooting.md quotes exists in the source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/troubleshooting.md"
FOREIGN = re.compile(r"\((pip|ssh|NumPy|OpenCV)\)")
"""Marks a message of another program."""
FROM_LIBRARIES = {"Address already in use", "throttled", "undervoltage", "soft temperature limit", "Python 3.9"}
"""Words of the system or too short to search for."""

pytestmark = pytest.mark.once


def list_messages() -> list[str]:
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = line.split("|")
        if len(cells) < 4 or cells[1].strip() in ("message", "---"):
            continue
        for match in re.finditer(r"`([^`]+)`( \([A-Za-z]+\))?", cells[1]):
            if match[1] not in FROM_LIBRARIES and not FOREIGN.search(match[2] or ""):
                found.append(match[1])
    return found


@pytest.fixture(scope="module")
def source_texts() -> str:
    """Return the texts of all modules except docstrings, one per line; values inside of them are cut out."""
    texts = [path.read_text(encoding="utf-8") for path in ROOT.glob("device/deploy/board/*.sh")]
    for part in ("runtime", "convert", "device", "benchmarks"):
        for path in (ROOT / part).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                    texts.append(re.sub(r"%[-.\d]*[sdfgr]", "\n", node.value))
    return "\n".join(texts).replace("`", "")


def test_the_page_lists_messages() -> None:
    messages = list_messages()
    assert len(messages) > 60
    assert len(set(messages)) == len(messages)


@pytest.mark.parametrize("message", list_messages())
def test_the_message_exists(message: str, source_texts: str) -> None:
    parts = [part.strip(" :;()") for part in message.split("...")]
    parts = [part for part in parts if len(part) > 3]
    assert parts, "the message has no fixed words"
    for part in parts:
        assert part in source_texts, f"{part!r} is in no text of the source"
