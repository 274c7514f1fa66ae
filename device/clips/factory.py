"""Construction of the sink of clips from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.io.atomic import expand_home
from ...runtime.io.naming import fill_placeholders, make_placeholder_values
from ..sinks.base import Sink
from ..sinks.privacy import Privacy
from .config import ClipsConfig
from .planner import ClipPlanner
from .sink import ClipSink


def open_clips(config: ClipsConfig, privacy: Privacy | None, name: str, source: str) -> ClipSink:
    """Create the sink that records clips. It is not started.

    Args:
        config: Settings that passed `ClipsConfig.check`, with a folder.
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
    return ClipSink(Path(expand_home(folder)), config, privacy, name)


def find_planner(sinks: Sequence[Sink]) -> ClipPlanner | None:
    """Return the planner of the clips that one of the sinks records; None if none does."""
    return next((sink.planner for sink in sinks if isinstance(sink, ClipSink)), None)
