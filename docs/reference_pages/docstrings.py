"""Descriptions of fields, from docstrings: the section `Attributes:` of a class, and texts after a field."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from typing import Any

_FIELD = re.compile(r"^(\w+): (.+)$")


@cache
def read_summary(kind: Any) -> str:
    """Return the docstring of a class without its sections, with each paragraph in one line."""
    text = inspect.cleandoc(kind.__doc__ or "").split("\nAttributes:\n")[0].split("\nRaises:\n")[0]
    return "\n\n".join(_join_lines(part) for part in text.strip().split("\n\n"))


@cache
def read_fields(kind: Any) -> dict[str, str]:
    """Return the description of each field of a dataclass, named tuple or typed dictionary, with those it inherits."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if one.__module__.startswith("edgepose."):
            found |= _read_section(one.__doc__ or "") | _read_texts_after_fields(one)
    return found


def _read_section(docstring: str) -> dict[str, str]:
    _, _, section = inspect.cleandoc(docstring).partition("\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent(section.split("\n\n")[0]).splitlines():
        if matched := _FIELD.match(line):
            name = matched[1]
            found[name] = matched[2]
        elif name:
            found[name] += f" {line.strip()}"
    return found


def _read_texts_after_fields(kind: Any) -> dict[str, str]:
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            text = after.value.value if isinstance(after.value, ast.Constant) else None
            if isinstance(text, str):
                found[field.target.id] = _join_lines(text)
    return found


def _join_lines(text: str) -> str:
    return " ".join(text.split())
