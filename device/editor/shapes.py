"""Zones and lines as the editor shows and changes them, and their TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, cast, get_args, get_type_hints

from ...runtime import schema
from ...runtime.skeleton import COCO18, get_skeleton, list_skeletons
from ...runtime.skeleton_table import suggest_name
from ..events.config import EventsConfig
from ..events.geometry import is_relative
from ..events.position import ANCHORS
from ..events.rule import CommonConfig

ShapeKind = Literal["zone", "line"]
KINDS: tuple[ShapeKind, ...] = ("zone", "line")
POINTS_KEYS = {"zone": "polygon", "line": "points"}
"""Key of the points in the table of each kind."""
_PLACE = re.compile(r"events\.(\w+)\[(\d+)\]")
"""Place of a rule in an error message."""
_DIGITS = 4
MAX_SHAPES = 100
MAX_POINTS = 200

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class SettingField:
    """Form field of a key.

    Attributes:
        key: Key in the table of the rule.
        label: Text on the page.
        type: `choice`, `integer` or `number`; `hidden`: the page knows the key, but shows no field.
        unit: Unit of a number.
        choices: Words of a choice; the first one is the default.
    """

    key: str
    label: str
    type: Literal["choice", "integer", "number", "hidden"]
    unit: str = ""
    choices: tuple[str, ...] = ()


_ANCHOR = SettingField("anchor", "Point of the person", "choice", "", (*ANCHORS, *COCO18.keypoints))
_FIELDS = {
    "zone": (
        _ANCHOR,
        SettingField("dwell_s", "Report a stay longer than", "number", "s"),
        SettingField("capacity", "Report more people than", "integer", "people"),
    ),
    "line": (_ANCHOR, SettingField("swap", "", "hidden")),
}


@dataclass(frozen=True)
class Shape:
    """A zone or a line, as the page sends it.

    Attributes:
        kind: `zone` or `line`.
        name: Name of the rule.
        points: Corners, or the points of a line, as shares of width and height of the image, 0 to 1.
        settings: Values of the form fields; those that are left empty are missing.
        origin: Position among the rules of this kind in the file; None for a new rule.
    """

    kind: ShapeKind
    name: str
    points: Points
    settings: dict[str, Any] = field(default_factory=dict)
    origin: int | None = None


@dataclass(frozen=True)
class Drawing:
    """All zones and lines of the page, in the order of the page."""

    shapes: tuple[Shape, ...]

    def check(self) -> None:
        """Raise ValueError for what the page does not send: too many shapes or corners, or points outside."""
        if len(self.shapes) > MAX_SHAPES or any(len(shape.points) > MAX_POINTS for shape in self.shapes):
            raise ValueError(f"expected at most {MAX_SHAPES} zones and lines with at most {MAX_POINTS} corners")
        if not all(0 <= value <= 1 for shape in self.shapes for point in shape.points for value in point):
            raise ValueError("expected points as shares of the image, 0 to 1")


class Tables:
    """The tables of zones and lines of a configuration file, and what the page makes of them."""

    def __init__(self, document: Mapping[str, Any], size: tuple[int, int]) -> None:
        """Read the tables.

        Args:
            document: The parsed file, whose rules were checked by `config.parse`.
            size: Width and height of the image in pixels, for shapes in pixels.
        """
        events = document.get("events", {})
        self._tables: dict[str, list[dict[str, Any]]] = {kind: list(events.get(kind, [])) for kind in KINDS}
        self._size = size
        self._other_rules = {kind: rules for kind, rules in events.items() if kind not in KINDS}

    def list_shapes(self) -> list[Shape]:
        """Return the zones and lines of the file."""
        shapes = []
        for kind in _get_rule_types():
            known = {field.key for field in list_fields(kind)}
            for number, table in enumerate(self._tables[kind]):
                settings = {key: value for key, value in table.items() if key in known}
                points = self._to_shares(table[POINTS_KEYS[kind]])
                shapes.append(Shape(cast(ShapeKind, kind), table["name"], points, settings, number))
        return shapes

    def has_origins(self, drawing: Drawing) -> bool:
        """Return True if the shapes that come from the file are different ones that it has."""
        origins = [(shape.kind, shape.origin) for shape in drawing.shapes if shape.origin is not None]
        exist = all(0 <= number < len(self._tables[kind]) for kind, number in origins)
        return exist and len(set(origins)) == len(origins)

    def make_table(self, shape: Shape) -> dict[str, Any]:
        """Return the table of a shape: keys that the page does not show, and points that did not change, are kept."""
        original = {} if shape.origin is None else self._tables[shape.kind][shape.origin]
        key = POINTS_KEYS[shape.kind]
        known = {field.key for field in list_fields(shape.kind)}
        others = {name: value for name, value in original.items() if name not in known and name not in ("name", key)}
        is_kept = key in original and self._to_shares(original[key]) == shape.points
        points = original[key] if is_kept else [[_round(x), _round(y)] for x, y in shape.points]
        return {"name": shape.name, key: points, **shape.settings, **others}

    def find_errors(self, drawing: Drawing) -> tuple[dict[int, str], str]:
        """Return what is wrong with single shapes, by their position, and with all rules together."""
        errors = {
            number: error for number, shape in enumerate(drawing.shapes) if (error := self._find_shape_error(shape))
        }
        if errors:
            return errors, ""
        problem = self._find_common_error(drawing)
        placed = next((found for found in _PLACE.finditer(problem) if found[1] in KINDS), None)
        if placed is None:
            return {}, problem
        numbers = [number for number, shape in enumerate(drawing.shapes) if shape.kind == placed[1]]
        return {numbers[int(placed[2])]: problem.removeprefix(f"{placed[0]}.")}, ""

    def _find_shape_error(self, shape: Shape) -> str:
        """Return what is wrong with a shape, whatever other rules there are."""
        try:
            rule = schema.build(_get_rule_types()[shape.kind], self.make_table(shape), strict=True)
            rules: dict[str, Any] = {shape.kind: (replace(rule, inside=(), outside=()),)}
            EventsConfig(**rules).check()
            self._check_anchor(shape)
        except ValueError as error:
            return str(error).removeprefix(f"events.{shape.kind}[0].")
        return ""

    def _check_anchor(self, shape: Shape) -> None:
        """Raise ValueError for a keypoint that no shipped skeleton has. One that the file already uses is accepted.

        The skeleton of the model is not known here; `edgepose camera` checks it.
        """
        anchor = shape.settings.get("anchor", ANCHORS[0])
        original = {} if shape.origin is None else self._tables[shape.kind][shape.origin]
        known = list_anchors()
        if anchor not in known and anchor != original.get("anchor"):
            raise ValueError(f"anchor: no keypoint {anchor[:64]!r}; {suggest_name(anchor, known)}")

    def _find_common_error(self, drawing: Drawing) -> str:
        """Return what is wrong with all rules of the file together, for example two equal names."""
        tables: dict[str, list[dict[str, Any]]] = {}
        for shape in drawing.shapes:
            tables.setdefault(shape.kind, []).append(self.make_table(shape))
        try:
            schema.build(EventsConfig, {**self._other_rules, **tables}, "events", strict=True).check()
        except ValueError as error:
            return str(error)
        return ""

    def _to_shares(self, points: Sequence[Sequence[float]]) -> Points:
        """Return points of the file as shares of the image."""
        if is_relative([(x, y) for x, y in points]):
            return tuple((float(x), float(y)) for x, y in points)
        width, height = self._size
        return tuple((x / width, y / height) for x, y in points)


def list_fields(kind: str) -> tuple[SettingField, ...]:
    """Return the form fields of a kind: those that its rule has."""
    known = {item.name for item in fields(_get_rule_types()[kind])}
    return tuple(field for field in _FIELDS[kind] if field.key in known)


@cache
def list_anchors() -> tuple[str, ...]:
    """Return all values of `anchor`: keypoints of all shipped skeletons, the usual skeleton first."""
    keypoints = [name for skeleton in list_skeletons() for name in get_skeleton(skeleton).keypoints]
    return tuple(dict.fromkeys((*ANCHORS, *COCO18.keypoints, *keypoints)))


@cache
def _get_rule_types() -> dict[str, type[CommonConfig]]:
    """Return the type of the settings of each kind that can be drawn."""
    hints = get_type_hints(EventsConfig)
    return {kind: get_args(hints[kind])[0] for kind in KINDS if kind in hints}


def format_tables(tables: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Format tables as TOML: `[[events.KIND]]` with one line per key."""
    parts = []
    for kind, table in tables:
        lines = [f"{key} = {_format_value(value)}" for key, value in table.items()]
        parts.append("\n".join([f"[[events.{kind}]]", *lines]))
    return "\n\n".join(parts) + "\n" if parts else ""


def describe_fields() -> dict[str, list[dict[str, Any]]]:
    """Return the form fields of all kinds, for the page."""
    return {kind: [asdict(field) for field in list_fields(kind)] for kind in _get_rule_types()}


def _format_value(value: object) -> str:
    """Format a value as TOML. JSON strings, numbers and lists are valid TOML, except for the character DEL."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _round(value: float) -> float:
    rounded = round(value, _DIGITS)
    return int(rounded) if rounded.is_integer() else rounded
