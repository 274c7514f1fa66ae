"""Construction of the sink of clips from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io.atomic import expand_home
from ...runtime.io.naming import fill_placeholders, make_placeholder_values
from ..events.config import EventsConfig
from ..sinks.base import Sink
from ..sinks.privacy import Privacy
from .config import ClipsConfig
from .planner import ClipPlanner
from .sink import ClipSink

_DURATION_KEYS = ("for_s", "dwell_s")
"""Keys of rules that report an event some time after it has begun."""


def open_clips(config: ClipsConfig, events: EventsConfig, privacy: Privacy | None, name: str, source: str) -> ClipSink:
    """Create the sink that records clips. It is not started.

    Args:
        config: Settings that passed `ClipsConfig.check`, with a folder.
        events: The rules.
        privacy: Privacy mode of the images; None is an error.
        name: Display name of the device, or of the camera if there are several.
        source: Camera source as given by the user, for `{source}`.

    Raises:
        InputError: The folder has an unknown placeholder, or there is no privacy mode.
    """
    if privacy is None:
        raise InputError(
            "clips: no privacy mode for the recorded images; choose with --privacy none, blur or silhouette (or with "
            "privacy = in the configuration)"
        )
    folder = fill_placeholders(config.folder, make_placeholder_values(name, source), "clips.folder")
    return ClipSink(Path(expand_home(folder)), config, privacy, name, _find_report_delay_s(config, events))


def _find_report_delay_s(config: ClipsConfig, events: EventsConfig) -> float:
    """Return the longest time for which something must last before a rule that causes clips reports it."""
    rules = [rule for kind in fields(events) for rule in getattr(events, kind.name)]
    chosen = [rule for rule in rules if not config.rules or rule.name in config.rules]
    return max((getattr(rule, key, None) or 0.0 for rule in chosen for key in _DURATION_KEYS), default=0.0)


def find_planner(sinks: Sequence[Sink]) -> ClipPlanner | None:
    """Return the planner of the clips that one of the sinks records; None if none does."""
    return next((sink.planner for sink in sinks if isinstance(sink, ClipSink)), None)
