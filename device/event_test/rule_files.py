"""Rules of a configuration file, one after the other."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io.atomic import expand_home
from .. import config
from ..config import Config
from ..events.config import EventsConfig
from ..events.rule import CommonConfig

_MAX_VALUE_LENGTH = 40


def read_rules(path: Path) -> Config:
    """Read and check a configuration file that has rules.

    Raises:
        InputError: The file cannot be read, a key or value is wrong, or it has no rules.
    """
    path = Path(expand_home(str(path)))
    settings = config.read(path)
    try:
        settings.check()
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if not settings.events:
        raise InputError(
            f"{path}: no rules: expected a table such as [[events.zone]]; `edgepose events edit` draws zones and lines"
        )
    return settings


def list_rules(events: EventsConfig) -> list[tuple[str, CommonConfig]]:
    """Return the kind and the settings of all rules, in the order in which they are evaluated."""
    return [(place.removeprefix("events.").partition("[")[0], rule) for place, rule in events.list_rules()]


def describe_rule(rule: CommonConfig) -> str:
    """Return the keys of a rule that differ from their defaults, for example `anchor = center, dwell_s = 30`."""
    parts = []
    for item in fields(rule):
        value = getattr(rule, item.name)
        if item.name == "name" or (item.default is not MISSING and value == item.default):
            continue
        parts.append(f"{item.name} = {_format_value(value)}")
    return ", ".join(parts)


def _format_value(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return f"{len(value)} points"
    text = (
        f"{value:g}"
        if isinstance(value, float)
        else ", ".join(map(str, value))
        if isinstance(value, tuple)
        else str(value)
    )
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 3] + "..."
