"""Table `[events]` of the configuration: the rules."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ...runtime.io.naming import is_valid_name, make_slug
from ...runtime.skeleton import COCO18, Skeleton
from .angle import AngleConfig, AngleRule
from .area import Area
from .expression import ExpressionConfig, ExpressionRule
from .fall import FallConfig, FallRule
from .gesture import GestureConfig, GestureRule
from .line import LineConfig, LineRule
from .posture import PostureConfig, PostureRule
from .repetitions import RepetitionsConfig, RepetitionsRule
from .rule import CommonConfig, Rule
from .schedule import parse_hours
from .zone import ZoneConfig, ZoneRule

MAX_RULES = 50
_FORBIDDEN = "/+#"
"""Characters that a part of an MQTT topic cannot have."""
_RULES: Mapping[str, Any] = {
    "line": LineRule, "posture": PostureRule, "fall": FallRule, "gesture": GestureRule, "angle": AngleRule,
    "repetitions": RepetitionsRule, "expression": ExpressionRule,
}  # fmt: skip


@dataclass(frozen=True)
class EventsConfig:
    """Rules by kind; docs/guides/events.md describes them.

    Attributes:
        zone: Who is in a zone: enter, leave, dwell, capacity.
        line: Who crosses a line, counted by direction.
        posture: Standing, sitting, crouching, lying.
        fall: Falls.
        gesture: Hand raised, arms crossed.
        angle: An angle between three keypoints.
        repetitions: Squats, push-ups, curls, or any other repeated movement, counted.
        expression: Any condition over keypoints.
    """

    zone: tuple[ZoneConfig, ...] = ()
    line: tuple[LineConfig, ...] = ()
    posture: tuple[PostureConfig, ...] = ()
    fall: tuple[FallConfig, ...] = ()
    gesture: tuple[GestureConfig, ...] = ()
    angle: tuple[AngleConfig, ...] = ()
    repetitions: tuple[RepetitionsConfig, ...] = ()
    expression: tuple[ExpressionConfig, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, kind.name) for kind in fields(self))

    def list_rules(self) -> Iterator[tuple[str, CommonConfig]]:
        """Return the place, such as `events.zone[0]`, and the keys of each rule."""
        for kind in fields(self):
            for number, rule in enumerate(getattr(self, kind.name)):
                yield f"events.{kind.name}[{number}]", rule

    def check(self, cameras: Sequence[str] = ()) -> None:
        """Raise ValueError if a rule is not valid; the message names its place and key.

        Keypoints are checked by `create_rules`, which knows the skeleton.

        Args:
            cameras: Names of the cameras, if there are several.
        """
        rules = list(self.list_rules())
        if len(rules) > MAX_RULES:
            raise ValueError(f"events: expected at most {MAX_RULES} rules, got {len(rules)}")
        for place, rule in rules:
            with _Place(place):
                _check_name(rule.name)
                rule.check()
                if rule.hours:
                    parse_hours(rule.hours)
        self._check_names(rules)
        for place, rule in rules:
            with _Place(place):
                self._check_references(rule, cameras)

    def _check_names(self, rules: Sequence[tuple[str, CommonConfig]]) -> None:
        places: dict[str, str] = {}
        for place, rule in rules:
            other = places.setdefault(make_slug(rule.name), place)
            if other != place:
                raise ValueError(
                    f"{place}.name: expected a name that no other rule has, got {rule.name!r} as in {other} "
                    "(names are equal if only case, spaces or accents differ)"
                )

    def _check_references(self, rule: CommonConfig, cameras: Sequence[str]) -> None:
        zones = [zone.name for zone in self.zone]
        for key, names in (("inside", rule.inside), ("outside", rule.outside)):
            for number, name in enumerate(names):
                if name not in zones:
                    raise ValueError(f"{key}[{number}]: there is no zone {name[:64]!r}; {_suggest(name, zones)}")
        if both := set(rule.inside) & set(rule.outside):
            raise ValueError(f"outside: {min(both)!r} is in inside too")
        for number, name in enumerate(rule.cameras):
            if cameras and name not in cameras:
                raise ValueError(f"cameras[{number}]: there is no camera {name[:64]!r}; {_suggest(name, cameras)}")


def create_areas(config: EventsConfig, skeleton: Skeleton = COCO18) -> dict[str, Area]:
    """Create the areas of all zones, by name.

    Raises:
        ValueError: The skeleton does not have the anchor of a zone.
    """
    areas = {}
    for number, zone in enumerate(config.zone):
        with _Place(f"events.zone[{number}]"):
            areas[zone.name] = Area(zone.name, zone.corners, zone.anchor, skeleton)
    return areas


def create_rules(
    config: EventsConfig,
    skeleton: Skeleton = COCO18,
    camera: str = "",
    areas: Mapping[str, Area] | None = None,
) -> list[Rule]:
    """Create the rules of a configuration, in the order of the file within each kind.

    Args:
        config: The rules, checked.
        skeleton: Skeleton of the poses.
        camera: Name of the camera, if there are several; rules for other cameras are left out.
        areas: Areas of the zones, which the caller updates before the rules; None: each zone has its own.

    Raises:
        ValueError: A rule needs a keypoint that the skeleton does not have; the message names its place and key.
    """
    rules: list[Rule] = []
    for place, rule in config.list_rules():
        if camera and rule.cameras and camera not in rule.cameras:
            continue
        with _Place(place):
            if isinstance(rule, ZoneConfig):
                rules.append(ZoneRule(rule, skeleton, None if areas is None else areas[rule.name]))
            else:
                rules.append(_RULES[place.removeprefix("events.").partition("[")[0]](rule, skeleton))
    return rules


class _Place:
    """Adds the place of a rule to a ValueError, whose message begins with the key."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise ValueError(f"{self._place}.{error}") from None


def _check_name(name: str) -> None:
    if not is_valid_name(name) or name != name.strip() or any(character in name for character in _FORBIDDEN):
        raise ValueError(
            f"name: expected 1 to 64 printable characters without {' '.join(_FORBIDDEN)} and without spaces at its "
            f"ends, got {name[:80]!r}"
        )


def _suggest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name[:64], known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known) or '(there are none)'}"
