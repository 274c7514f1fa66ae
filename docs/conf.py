"""Configuration of the documentation site: Sphinx with Furo and MyST. `make docs` builds it into build/docs.

The pages are plain Markdown that is readable on GitHub too. This file adds what GitHub does not need:

- Lists and tables of links in `index.md` pages become the navigation.
- Relative links to files outside docs/ become links to the repository.
- Code blocks that start with a prompt are highlighted as shell sessions.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, TypeVar

import numpy.typing
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.transforms import SphinxTransform

Item = TypeVar("Item", bound=numpy.generic)


class NDArray(Generic[Item]):
    """Stands for `numpy.typing.NDArray`, which Sphinx would write as `ndarray[tuple[Any, ...], dtype[...]]`."""

    __module__ = "numpy.typing"


# Before the package is imported.
numpy.typing.NDArray = NDArray  # type: ignore[misc]

import edgepose.events  # noqa: E402
import edgepose.runtime  # noqa: E402

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
REPOSITORY = "https://github.com/edgepose/edgepose"

project = "edgepose"
author = "The edgepose developers"
project_copyright = "The edgepose developers"
release = version = edgepose.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
nitpicky = True
# JSON in examples is shortened with "...".
suppress_warnings = ["misc.highlighting_failure"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# `$` starts a command, an output line has no prompt: only commands are copied, without their prompts.
copybutton_prompt_text = r"\$ |# (?=\w)|>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "EOF"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autoclass_content = "both"
smartquotes = False
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
default_role = "code"
# Types of the standard library and NumPy are named without a link: a build needs no network.
nitpick_ignore_regex = [("py:.*", r"(numpy|os|pathlib|collections\.abc|threading)\..*|Path|PathLike")]
autodoc_type_aliases = {name: name for name in ("Image", "ImageLike", "ChannelOrder")}

html_theme = "furo"
html_title = f"edgepose {release}"
html_baseurl = "https://edgepose.github.io/edgepose/"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "source_repository": f"{REPOSITORY}/",
    "source_branch": "main",
    "source_directory": "docs/",
    "light_css_variables": {"color-brand-primary": "#0b6e63", "color-brand-content": "#0b6e63"},
    "dark_css_variables": {"color-brand-primary": "#4fd1bf", "color-brand-content": "#4fd1bf"},
}

_FENCE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})")
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
# In a list or in the first column of a table.
_LISTED_PAGE = re.compile(r"^(?:-|\|) \[`?([^\]`]+)`?\]\(([\w./-]+)\.md\)", re.MULTILINE)
# A page that is named without a link, as in the changelog.
_NAMED_PAGE = re.compile(r"(?<![\w/(\[`])docs/([\w./-]+\.md)(?![\w)\]]*\])")


def rewrite_links(text: str, folder: Path, page_folder: Path) -> str:
    """Return Markdown with links that work on the site: outside code blocks, and only for files that exist.

    Args:
        text: Content of a Markdown file.
        folder: The folder that the links are relative to.
        page_folder: The folder of the page that shows the text. It differs from `folder` for an included file.
    """

    def rewrite(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        if "://" in path or path.startswith("mailto:"):
            return match[0]
        file = (folder / path).resolve()
        if file.is_relative_to(DOCS):
            return os.path.relpath(file, page_folder) + anchor
        if not file.is_relative_to(ROOT) or not file.exists():
            return match[0]
        kind = "tree" if file.is_dir() else "blob"
        return f"{REPOSITORY}/{kind}/main/{file.relative_to(ROOT).as_posix()}{anchor}"

    def link_page(match: re.Match[str]) -> str:
        file = DOCS / match[1]
        return f"[{match[0]}]({os.path.relpath(file, folder)})" if file.exists() else match[0]

    lines, fence = [], ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip().startswith(fence):
            fence = ""
        lines.append(line if fence or mark else _LINK.sub(rewrite, _NAMED_PAGE.sub(link_page, line)))
    return "\n".join(lines)


def append_navigation(text: str) -> str:
    """Append a hidden table of contents for each section with a list of pages."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    for caption, section in zip([None, *parts[1::2]], parts[0::2], strict=True):
        pages = _LISTED_PAGE.findall(section)
        if pages:
            head = ["```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else [])]
            text += "\n" + "\n".join([*head, "", *(f"{title} <{page}>" for title, page in pages), "```"]) + "\n"
    return text


def prepare_page(app: Sphinx, name: str, content: list[str]) -> None:
    """Rewrite the links of a page; add the navigation to an index page."""
    folder = (DOCS / name).parent
    content[0] = rewrite_links(content[0], folder, folder)
    if Path(name).name == "index":
        content[0] = append_navigation(content[0])


def prepare_included(app: Sphinx, path: Path, page: str, content: list[str]) -> None:
    """Rewrite the links of an included file, such as ARCHITECTURE.md, so that they work from the page.

    MyST passes the page without its folder, so the name is taken from the environment.
    """
    content[0] = rewrite_links(content[0], (DOCS / path).resolve().parent, (DOCS / app.env.docname).parent)


_FILE_IN_DOCSTRING = re.compile(r"(?<![/\w])docs/([\w./-]+)\.md")
_CODE_IN_DOCSTRING = re.compile(r"(?<![`:])`([^`]+)`(?!`)")


def prepare_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Link pages, and names of the package in backticks."""
    # The docstring of the constructor of a named tuple.
    lines[:] = [line for line in lines if not line.startswith("Create new instance of ")]
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            line = _CODE_IN_DOCSTRING.sub(_link_name, line)
            lines[number] = _FILE_IN_DOCSTRING.sub(r":doc:`/\1`", line)


def _link_name(match: re.Match[str]) -> str:
    """Return a link for the name of a class, function or method, otherwise code."""
    text = match[1]
    first, _, member = text.removesuffix("()").partition(".")
    for package in (edgepose, edgepose.events, edgepose.runtime):
        if first in package.__all__ and first != "events":
            value = getattr(package, first)
            is_linked = not member or isinstance(getattr(value, member, None), FunctionType | property)
            target = f"{first}.{member}" if member and is_linked else first
            return f":py:obj:`{text} <{package.__name__}.{target}>`"
    return f"``{text}``"


def hide_member(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Hide the fields of named tuples, which are in the signature, and `count` and `index`."""
    is_field = type(obj).__name__ == "_tuplegetter"
    return True if is_field or (name in ("count", "index") and getattr(tuple, name) is obj) else None


def shorten_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write default values of dataclasses as in the source."""
    for value, text in (("Skeleton('coco18', 18 keypoints, 19 limbs)", "COCO18"), ("(1.0, 0)", "Quantization()")):
        signature = signature.replace(value, text) if signature else signature
    return signature, returns


def parse_attribute(docstring: GoogleDocstring) -> list[str]:
    """Parse the docstring of an attribute or property like that of a method.

    Napoleon takes the text before a colon for a type and does not know sections there.
    """
    docstring._what = "method"
    docstring._parse()
    return []


class HighlightSessions(SphinxTransform):
    """Highlight code blocks without a language as shell sessions if they start with a prompt."""

    default_priority = 100

    def apply(self, **kwargs: Any) -> None:
        """Set the language of all such blocks of a page."""
        for block in self.document.findall(nodes.literal_block):
            if block.astext().startswith("$ ") and block.get("language") in (None, "", "none", "default", "text"):
                block["language"] = "console"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the functions above to the build."""
    app.connect("source-read", prepare_page)
    app.connect("include-read", prepare_included)
    # Before napoleon, which has priority 500.
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("autodoc-skip-member", hide_member)
    app.connect("autodoc-process-signature", shorten_signature)
    GoogleDocstring._parse_attribute_docstring = parse_attribute  # type: ignore[method-assign]
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.add_transform(HighlightSessions)
    return {"parallel_read_safe": True}
