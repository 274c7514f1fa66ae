"""Table `[events]` of the configuration: the rules."""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.skeleton import COCO18, Skeleton
from .rule import Rule
from .zone import ZoneConfig, ZoneRule


@dataclass(frozen=True)
class EventsConfig:
    """Rules by kind; docs/events.md describes them."""

    zone: tuple[ZoneConfig, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.zone)

    def check(self) -> None:
        """Raise ValueError if a rule is not valid or two rules have the same name."""


def create_rules(config: EventsConfig, skeleton: Skeleton = COCO18) -> list[Rule]:
    """Create the rules of a configuration, in the order of the file within each kind."""
    return [ZoneRule(rule, skeleton) for rule in config.zone]
