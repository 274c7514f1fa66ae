"""Page of the TOML files: configuration of the camera loop, list of models, skeleton. From the types that read them."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from edgepose.device import config
from edgepose.device.events.condition import ConditionConfig
from edgepose.device.events.config import MAX_RULES, EventsConfig
from edgepose.device.events.rule import CommonConfig
from edgepose.runtime import skeleton_file
from edgepose.runtime.cli.command import join_words
from edgepose.runtime.model import registry_file
from edgepose.runtime.schema import find_limits

from .docstrings import read_fields, read_summary
from .markdown import link_pages, make_notice, make_table, mark_code, wrap

PAGE = "reference/configuration.md"
_HEAD = ("key", "meaning")
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", Any: "string or integer"}
_SECTIONS = ("model", "camera", "loop", "output", "clips")


def make_page() -> str:
    """Return the text of the page."""
    parts = [
        make_notice("the types of the settings"),
        "# Configuration files\n",
        wrap(
            "Three kinds of TOML files: the [configuration of the camera loop](#camera-loop), a "
            "[list of models](#list-of-models), and a [skeleton](#skeleton). An unknown key is an error, and the "
            "message names the line and the most similar key."
        )
        + "\n",
        "## Camera loop\n",
        wrap(
            "`edgepose camera --config camera.toml` reads it. `edgepose camera --print-config` prints a file with all "
            "keys, their defaults and comments. Command-line options override the file. All keys are optional, unless "
            "the table says that they are required. A number is an integer or has a decimal point."
        )
        + "\n",
    ]
    for name in _SECTIONS:
        kind = get_type_hints(config.Config)[name]
        parts += [f"### `[{name}]`\n", _describe(kind), _make_fields(kind)]
    parts += _make_rules()
    parts += [
        "## List of models\n",
        wrap(
            "A file `models.toml` in a folder of `EDGEPOSE_MODELS` adds models to those that edgepose knows. It has "
            "one table per model, `[NAME]`. [Models](models.md) explains it."
        )
        + "\n",
        *_make_nested("NAME", registry_file.ModelEntry),
        "## Skeleton\n",
        wrap("The file of `edgepose convert --skeleton FILE.toml`. [Skeletons](skeletons.md) explains it.") + "\n",
        *_make_nested("", skeleton_file.SkeletonEntry),
    ]
    return "\n".join(filter(None, parts))


def _make_rules() -> list[str]:
    common = [*_list_names(CommonConfig)]
    parts = [
        "### Rules\n",
        wrap(
            f"One table `[[events.KIND]]` per rule, at most {MAX_RULES} rules. [Events](../guides/events.md) explains "
            "them. The kinds are:"
        )
        + "\n",
        make_table(
            ("kind", "reports"),
            [
                (f"[`[[events.{kind}]]`](#events{kind})", _polish(text))
                for kind, text in read_fields(EventsConfig).items()
            ],
        ),
        "Keys of all rules:\n",
        _make_fields(CommonConfig),
    ]
    for kind, annotation in get_type_hints(EventsConfig).items():
        [rule, _] = get_args(annotation)
        names = [name for name in _list_names(rule) if name not in common or _has_own_default(rule, name)]
        parts += [f"### `[[events.{kind}]]`\n", _describe(rule), _make_fields(rule, sorted(names, key=_rank))]
    return parts


def _rank(name: str) -> tuple[bool, bool]:
    """Return the sort key of a key of a rule: what only this kind of rule has comes first."""
    return name in _list_names(CommonConfig), name in _list_names(ConditionConfig)


def _has_own_default(rule: Any, name: str) -> bool:
    """Return True if the rule has another default than the keys that all rules have."""
    return next(field.default for field in fields(rule) if field.name == name) != next(
        field.default for field in fields(CommonConfig) if field.name == name
    )


def _make_nested(place: str, kind: Any) -> list[str]:
    """Return the table of a type, and those of the tables that it contains."""
    parts = [_make_fields(kind)]
    for name, annotation in get_type_hints(kind).items():
        inner = next((one for one in _walk(annotation) if is_dataclass(one)), None)
        if inner is not None:
            where = f"{place}.{name}".lstrip(".")
            parts += [f"### `[[{where}]]`\n", _describe(inner), *_make_nested(where, inner)]
    return parts


def _walk(annotation: Any) -> list[Any]:
    return [annotation, *(inner for one in get_args(annotation) for inner in _walk(one))]


def _list_names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


def _describe(kind: Any) -> str:
    text = re.sub(r"^(Section|Table) `\[+[\w.]+\]+`[.:] ?", "", read_summary(kind))
    return wrap(_polish(text[:1].upper() + text[1:])) + "\n" if text else ""


def _make_fields(kind: Any, names: list[str] | None = None) -> str:
    hints, texts = get_type_hints(kind, include_extras=True), read_fields(kind)
    rows = []
    known = {field.name: field for field in fields(kind)}
    for name in names or known:
        field = known[name]
        text, default = texts[field.name], "required"
        if field.default is not MISSING or field.default_factory is not MISSING:
            value = field.default if field.default_factory is MISSING else field.default_factory()
            default, text = _split_default(value, text)
        # Two columns: more are too narrow on a phone.
        about = default if default == "required" else f"default: {default}"
        rows.append((f"`{field.name}`", f"*{_name_type(hints[field.name])}; {about}.* {_polish(text)}"))
    return make_table(_HEAD, rows)


def _split_default(value: Any, text: str) -> tuple[str, str]:
    """Return the default, and the text without the part that says what an empty default means."""
    empty = {None: "None", "": '""', (): "()"}.get(value) if value in (None, "", ()) else None
    if empty is not None:
        found = re.search(rf"[;.] (?:{re.escape(empty)}): ([^.;]+)", text)
        if found is None:
            return {None: "not set", (): "`[]`", "": '`""`'}[value], text
        rest = text[: found.start()] + text[found.end() :]
        return mark_code(found[1]), rest
    return f"`{_format_value(value)}`", text


def _format_value(value: Any) -> str:
    if isinstance(value, bool | str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return "{}" if value == {} else f"{value}" if isinstance(value, int) else f"{value:g}"


def _name_type(annotation: Any) -> str:
    """Return the type in words, with the range, the unit, or the allowed values."""
    if (limits := find_limits(annotation)) is not None:
        plain = _name_type(_strip(annotation))
        return plain + ", " * bool(limits.unit or str(limits)) + f"{limits} {limits.unit}".strip()
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _name_type(inner[0])
    if origin is Literal:
        return join_words([f"`{json.dumps(word)}`" for word in inner if word != ""])
    if origin in (Union, types.UnionType):
        return _name_type(next(one for one in inner if one is not types.NoneType))
    if origin is tuple:
        return (
            f"list of {_name_types(inner[0])}"
            if inner[-1] is Ellipsis
            else f"list of {len(inner)} {_name_types(inner[0])}"
        )
    if origin in (Mapping, dict):
        return "table" if inner[1] is Any else f"table of {_name_types(inner[1])}"
    return "table" if is_dataclass(annotation) else _TYPES[annotation]


def _name_types(annotation: Any) -> str:
    """Return the plural of a type."""
    if get_origin(annotation) is Literal:
        return _name_type(annotation)
    if get_origin(annotation) is tuple:
        return "points `[x, y]`" if get_args(annotation) == (float, float) else "pairs"
    return "strings or integers" if annotation is Any else f"{_name_type(annotation)}s"


def _strip(annotation: Any) -> Any:
    """Return an annotation without its limits."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return inner[0]
    if origin is tuple:
        return tuple[tuple(_strip(one) for one in inner)]  # type: ignore[misc]
    return next((_strip(one) for one in inner if one is not types.NoneType), annotation)


def _polish(text: str) -> str:
    return link_pages(mark_code(text), PAGE)
