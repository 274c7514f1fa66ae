"""Table `[events]` of the configuration: the rules."""

from __future__ import annotations

from dataclasses import dataclass

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


def create_rules(config: EventsConfig) -> list[Rule]:
    """Create the rules of a configuration, in the order of the file within each kind."""
    return [ZoneRule(rule) for rule in config.zone]
