"""Typed loader: build dataclasses and named tuples from parsed JSON or TOML, checked against their annotations.

Used for everything that is read from files or received: manifests, configuration, lists of models, releases, profiles
and the answers of boards. Supported annotations: `str`, `int`, `float`, `bool`, `Literal`, `X | None`, `tuple`, `dict`,
dataclasses and named tuples. `Annotated` with `Limits` adds a range and a unit, which `check_limits` checks and
docs/reference/configuration.md shows.

Own code, because the libraries cost too much on a board: see docs/explanation/decisions.md, "Typed loader".
"""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Built = TypeVar("Built")

_MAX_SHOWN_CHARACTERS = 80
_WORDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Limits:
    """Range and unit of a number, or of the numbers in a list: `fps: Annotated[float, Limits(above=0, most=60)]`.

    Attributes:
        least: Smallest allowed value.
        most: Largest allowed value.
        above: Limit that the value must exceed, instead of `least`.
        unit: Unit, as the reference shows it, such as `s`.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    unit: str = ""

    def __str__(self) -> str:
        """Return the range in words; "" if there is none."""
        least, most, above = (None if end is None else f"{end:.10g}" for end in (self.least, self.most, self.above))
        if above is not None:
            return f"more than {above}" if most is None else f"more than {above} and at most {most}"
        if least is not None:
            return f"{least} or more" if most is None else f"{least} to {most}"
        return "" if most is None else f"at most {most}"

    def allow(self, value: float) -> bool:
        """Return True if a number is in the range."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
        )


def find_limits(annotation: Any) -> Limits | None:
    """Return the limits in an annotation; None if it has none."""
    if get_origin(annotation) is Annotated:
        return next((one for one in annotation.__metadata__ if isinstance(one, Limits)), None)
    return next((limits for one in get_args(annotation) if (limits := find_limits(one)) is not None), None)


def check_limits(instance: Any, where: str = "") -> None:
    """Check the fields of a dataclass against the `Limits` in its annotations; None is always allowed.

    Args:
        instance: The dataclass.
        where: Place of the fields in the message, such as `clips`.

    Raises:
        ValueError: A number is out of range; the message names the field, the range and the number.
    """
    kind: Any = type(instance)
    for name, limits in _list_limits(kind):
        value = getattr(instance, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not limits.allow(number):
                raise ValueError(f"{_join(where, name)}: expected {limits}, got {_format_number(number)}")


@cache
def _list_limits(kind: Any) -> tuple[tuple[str, Limits], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple((item.name, limits) for item in fields(kind) if (limits := find_limits(hints[item.name])) is not None)


def _format_number(value: float) -> str:
    try:
        shown = f"{value:g}"
        # 60.0000001 is not 60.
        return shown if float(shown) == value else repr(float(value))
    except OverflowError:
        return "a larger number"  # an int can have any number of digits


def build(kind: type[Built], value: Any, where: str = "", *, strict: bool = False) -> Built:
    """Build a `kind` from parsed JSON or TOML.

    Args:
        kind: A dataclass or named tuple.
        value: What the parser returned; usually a dictionary.
        where: Name of the value in messages, such as "manifest"; "" for a whole document.
        strict: Refuse unknown keys. Otherwise they are ignored, so that older versions read newer documents.

    Raises:
        ValueError: The value does not fit; the message names the place, what was expected and what was found.
    """
    built: Built = _build(kind, value, where, strict)
    return built


def _build(kind: Any, value: Any, where: str, strict: bool) -> Any:
    if kind is Any:
        return value
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        return _build_object(kind, value, where, strict)
    origin = get_origin(kind)
    if origin is Literal:
        if value not in get_args(kind):
            raise _make_error(where, f"one of {', '.join(str(one) for one in get_args(kind) if one != '')}", value)
        return value
    if origin in (Union, types.UnionType):
        (inner,) = (one for one in get_args(kind) if one is not types.NoneType)
        return None if value is None else _build(inner, value, where, strict)
    if origin is tuple:
        return _build_tuple(get_args(kind), value, where, strict)
    if origin in (Mapping, dict):
        if not isinstance(value, dict):
            raise _make_error(where, "an object", value)
        return {str(key): _build(get_args(kind)[1], entry, f"{where}.{key}", strict) for key, entry in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
        return float(value)
    if type(value) is not kind or (kind is float and not _is_finite(value)):
        raise _make_error(where, _WORDS[kind], value)
    return value


def _build_object(kind: Any, value: Any, where: str, strict: bool) -> Any:
    if not isinstance(value, dict):
        raise _make_error(where, "an object", value)
    hints, required = _inspect(kind)
    if strict:
        for key in value:
            if key not in hints:
                near = difflib.get_close_matches(str(key), hints, n=1)
                hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(hints)}"
                raise ValueError(f"{_join(where, str(key)[:40])}: there is no such key; {hint}")
    for name in hints:
        if name in required and name not in value:
            raise ValueError(f"{where.lstrip('.') or 'document'}: {name!r} is missing")
    return kind(
        **{name: _build(hints[name], value[name], f"{where}.{name}", strict) for name in hints if name in value}
    )


@cache
def _inspect(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the annotations of all fields, and the names of the fields without a default."""
    hints = get_type_hints(kind)
    if is_dataclass(kind):
        hints = {item.name: hints[item.name] for item in fields(kind)}
        required = {item.name for item in fields(kind) if item.default is MISSING and item.default_factory is MISSING}
    else:
        required = set(hints) - set(kind._field_defaults)
    return hints, frozenset(required)


def _build_tuple(kinds: tuple[Any, ...], value: Any, where: str, strict: bool) -> tuple[Any, ...]:
    if not isinstance(value, list):
        is_table = isinstance(value, dict) and is_dataclass(kinds[0])
        raise _make_error(
            where, f"a list of tables, [[{where.lstrip('.')}]]" if is_table else _describe_list(kinds), value
        )
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise _make_error(where, f"{len(kinds)} values", value)
    return tuple(_build(kind, value[i], f"{where}[{i}]", strict) for i, kind in enumerate(kinds))


def _describe_list(kinds: tuple[Any, ...]) -> str:
    """Describe a list, for example `a list of 2 values` for a point."""
    return "a list" if kinds[-1] is Ellipsis else f"a list of {len(kinds)} values"


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _join(where: str, key: str) -> str:
    shown = key if key.isidentifier() else repr(key)
    return f"{where}.{shown}".lstrip(".")


def _make_error(where: str, expected: str, value: Any) -> ValueError:
    place = where.lstrip(".") or "document"
    try:
        shown = repr(value)[:_MAX_SHOWN_CHARACTERS]
    except RecursionError:
        shown = f"a deeply nested {type(value).__name__}"
    return ValueError(f"{place}: expected {expected}, got {shown}")
