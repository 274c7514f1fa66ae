"""Rules from a TOML file, for the Python API."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from .. import config
from .config import EventsConfig


def load_rules(path: str | PathLike[str]) -> EventsConfig:
    """Read the rules of a configuration file; its other tables may be missing.

    >>> rules = edgepose.events.load_rules("camera.toml")

    Raises:
        InputError: The file cannot be read, is not TOML, or a rule is not valid; the message names line and key.
    """
    return config.read(Path(path)).events


def parse_rules(text: str) -> EventsConfig:
    """Read rules from TOML.

    >>> rules = edgepose.events.parse_rules('''
    ... [[events.line]]
    ... name = "door"
    ... points = [[0.3, 0.8], [0.7, 0.8]]
    ... ''')

    Raises:
        InputError: The text is not TOML, or a rule is not valid; the message names line and key.
    """
    return config.parse(text, Path("rules")).events
