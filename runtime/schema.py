"""JSON and TOML into dataclasses and named tuples, by their annotations: nothing gets in that they do not allow."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Made = TypeVar("Made")


def make(kind: type[Made], value: Any, where: str = "", *, strict: bool = False) -> Made:
    """`value`, as JSON has it, as a `kind`. Raises ValueError naming the place and what was expected there.

    `strict`: keys that the annotations do not know are refused, with the nearest that they do.
    """
    if strict:
        _refuse_unknown(kind, value, where)
    made: Made = _make(kind, value, where)
    return made


def _refuse_unknown(kind: Any, value: Any, where: str) -> None:
    if not (is_dataclass(kind) and isinstance(value, dict)):
        return
    hints = get_type_hints(kind)
    for key, inner in value.items():
        place = f"{where}.{key}".lstrip(".")
        if key not in hints:
            close = difflib.get_close_matches(key, hints, n=1) or [", ".join(hints)]
            raise ValueError(f"{place}: there is no such key; did you mean {close[0]}?")
        _refuse_unknown(hints[key], inner, place)


def _make(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return _object(kind, value, where)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise _wrong(where, "one of " + ", ".join(map(str, get_args(kind))), value)
        return value
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (one for one in get_args(kind) if one is not types.NoneType)
        return None if value is None else _make(inner, value, where)
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin in (Mapping, dict):
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        return {str(key): _make(get_args(kind)[1], entry, f"{where}.{key}") for key, entry in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and _finite(value):
        return float(value)
    if type(value) is not kind or (kind is float and not _finite(value)):
        raise _wrong(where, kind.__name__, value)
    return value


def _object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    hints = get_type_hints(kind)
    if is_dataclass(kind):
        needed = {item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING}
    else:
        needed = set(hints) - set(kind._field_defaults)
    if missing := sorted(needed - set(value)):
        raise ValueError(f"{where or 'document'}: {missing[0]!r} is missing")
    made = {name: _make(hints[name], value[name], f"{where}.{name}") for name in hints if name in value}
    make_object: Any = kind
    return make_object(**made)


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    if inner[-1] is Ellipsis:
        return tuple(_make(inner[0], entry, f"{where}[{i}]") for i, entry in enumerate(value))
    if len(value) != len(inner):
        raise _wrong(where, f"{len(inner)} values", value)
    return tuple(_make(one, entry, f"{where}[{i}]") for i, (one, entry) in enumerate(zip(inner, value, strict=True)))


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _wrong(where: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{where.lstrip('.') or 'document'}: expected {expected}, got {repr(value)[:60]}")
