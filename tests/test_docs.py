"""Markdown files of the repository: links, headings, line lengths, and what the site needs. Sphinx is not needed."""

from __future__ import annotations

import re
import string
from functools import cache
from pathlib import Path

import pytest

import edgepose
import edgepose.events

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/edgepose/edgepose"
SITE = "https://edgepose.github.io/edgepose/"
PAGES = sorted(DOCS.rglob("*.md"))
FOLDERS = (DOCS, ROOT / "tests", ROOT / "examples", ROOT / ".github")
FILES = [*sorted(ROOT.glob("*.md")), *(path for folder in FOLDERS for path in sorted(folder.rglob("*.md")))]
SOURCES = [
    path
    for part in ("runtime", "convert", "device", "benchmarks", "examples", "tests")
    for suffix in ("py", "pyx", "pxi", "toml", "sh", "md")
    for path in sorted((ROOT / part).rglob(f"*.{suffix}"))
]  # fmt: skip
MAX_COLUMNS = 100

FENCE = re.compile(r"\s*(`{3,}|~{3,})")
INLINE_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
HEADING = re.compile(r"(#{1,6}) +(.*?)(?: +#+)?$")
NAMED_FILE = re.compile(r"(?<![\w/.-])docs/[\w./-]+\.\w+")

pytestmark = pytest.mark.once


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def read_prose(path: Path) -> str:
    """Return a file without its code blocks; the lines stay where they are."""
    lines, fence = [], ""
    for line in path.read_text().split("\n"):
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
            lines.append("")
        elif fence:
            fence = "" if mark and line.strip().startswith(fence) and not line.strip().strip(fence[0]) else fence
            lines.append("")
        else:
            # Four spaces after an empty line or a heading are code too.
            is_code = line.startswith("    ") and (not lines or not lines[-1].strip() or lines[-1].startswith("#"))
            lines.append("" if is_code else line)
    return "\n".join(lines)


@cache
def find_headings(path: Path) -> list[tuple[int, str]]:
    """Return level and text of each heading; an included file belongs to the page."""
    matches = (HEADING.match(line) for line in read_prose(path).split("\n"))
    found = [(len(match[1]), match[2]) for match in matches if match]
    for include in re.findall(r"^```\{include\} (\S+)$", path.read_text(), re.MULTILINE):
        found += find_headings((path.parent / include).resolve())
    return found


@cache
def find_anchors(path: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub and MyST make them."""
    dropped = set(string.punctuation) - set("-_")
    anchors: set[str] = set()
    for _, text in find_headings(path):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).lower()
        slug = "".join(one for one in text if one not in dropped).replace(" ", "-")
        number, anchor = 0, slug
        while anchor in anchors:
            number += 1
            anchor = f"{slug}-{number}"
        anchors.add(anchor)
    return anchors


def find_link_problem(file: Path, target: str) -> str:
    """Return why a link is wrong; empty if it is right, or leads elsewhere."""
    path, _, anchor = target.partition("#")
    if path.startswith(REPOSITORY):
        match = re.fullmatch(rf"{REPOSITORY}/(?:blob|tree|raw)/main/(.+)", path)
        if not match:
            return ""
        linked = ROOT / match[1]
    elif path.startswith(SITE):
        linked = DOCS / (path.removeprefix(SITE).removesuffix(".html") or "index")
        linked = linked.with_name(f"{linked.name}.md") if path.endswith((".html", "/")) else linked
    elif re.match(r"[a-z]+:", path):
        return ""
    else:
        linked = (file.parent / path).resolve() if path else file
    if not linked.is_relative_to(ROOT):
        return "is outside of the repository"
    if not linked.exists():
        return "does not exist"
    if anchor and linked.suffix == ".md" and anchor not in find_anchors(linked):
        return f"has no heading #{anchor}"
    return ""


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_links_lead_to_files_and_headings(file: Path) -> None:
    prose = INLINE_CODE.sub("", read_prose(file))
    problems = {target: find_link_problem(file, target) for target in LINK.findall(prose)}
    assert not {target: problem for target, problem in problems.items() if problem}


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("no-such-page.md", "does not exist"),
        ("guides/camera.md#no-such-heading", "has no heading #no-such-heading"),
        ("guides/camera.md#several-cameras", ""),
        ("../../outside.md", "is outside of the repository"),
        (f"{REPOSITORY}/blob/main/docs/no-such-page.md", "does not exist"),
        (f"{REPOSITORY}/issues", ""),
        (f"{SITE}guides/camera.html", ""),
        (f"{SITE}guides/no-such-page.html", "does not exist"),
        (SITE, ""),
        ("https://example.org/elsewhere", ""),
    ],
)
def test_wrong_links_are_found(target: str, problem: str) -> None:
    assert find_link_problem(DOCS / "index.md", target) == problem


def test_files_named_in_sources_exist() -> None:
    """Docstrings, comments and messages name pages without a link."""
    missing = {
        f"{name_of(path)}: {name}"
        for path in SOURCES
        if path != Path(__file__)
        for name in NAMED_FILE.findall(path.read_text())
        if not (ROOT / name).exists()
    }
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_has_one_title(page: Path) -> None:
    levels = [level for level, _ in find_headings(page)]
    assert levels.count(1) == 1
    assert levels[0] == 1


@pytest.mark.parametrize("file", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_lines_are_wrapped(file: Path) -> None:
    """`python docs/wrap.py FILE` wraps them. Tables, code, images, long addresses and generated pages may be wider."""
    if file.read_text().startswith("<!-- Made by"):
        return
    long = [line for line in read_prose(file).split("\n") if len(line) > MAX_COLUMNS]
    assert not [line for line in long if not line.lstrip().startswith(("|", "!", "[!", "<")) and " " in line.strip()]


def test_every_page_is_in_the_navigation() -> None:
    """conf.py makes the navigation from the lists and tables of links in pages with the name index.md."""
    listed = {DOCS / "index.md"}
    for index in DOCS.rglob("index.md"):
        for target in re.findall(r"^(?:-|\|) \[`?[^\]`]+`?\]\(([\w./-]+\.md)\)", index.read_text(), re.MULTILINE):
            listed.add((index.parent / target).resolve())
    assert {name_of(page) for page in PAGES} - {name_of(page) for page in listed} == set()


@pytest.mark.parametrize("module", [edgepose, edgepose.events], ids=lambda module: module.__name__)
def test_the_python_reference_has_every_name(module: object) -> None:
    text = "\n".join(path.read_text() for path in (DOCS / "reference/python").glob("*.md"))
    documented = set(re.findall(r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)$", text, re.MULTILINE))
    names = set(module.__all__) - {"__version__", "events"}  # type: ignore[attr-defined]
    assert names - documented == set()
