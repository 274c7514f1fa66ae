"""The command `edgepose events check`: check the rules of a configuration file and draw its zones and lines."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ...runtime.cli.command import Argument, Command, InputName, Option, PathName
from ...runtime.errors import InputError
from ...runtime.io.atomic import refuse_overwriting
from ...runtime.io.images import write_image
from ...runtime.io.messages import show_note
from ...runtime.io.printable import make_printable
from ..config import name_lines
from ..editor.snapshot import take_snapshot
from ..event_test.rule_files import describe_rule, list_rules, read_rules
from ..events.config import EventsConfig
from ..events.draw import draw_rules
from ..events.engine import EventEngine


@dataclass(frozen=True)
class EventsCheckOptions:
    """Values of the command line of `edgepose events check`."""

    config: Path
    image: str | None
    draw: Path | None


def run(options: EventsCheckOptions) -> int:
    """Print one line per rule; draw zones and lines if an image is given."""
    if (options.image is None) != (options.draw is None):
        raise InputError("--image and --draw: expected both or none")
    settings = read_rules(options.config)
    logging.basicConfig(level=logging.WARNING, format="edgepose: %(message)s")
    with name_lines(options.config):
        EventEngine(settings.events)  # checks the names of keypoints
    if options.image is not None and options.draw is not None:
        _draw(settings.events, options.image, options.draw)
    rules = list_rules(settings.events)
    name_width, kind_width = (
        max(map(len, words)) for words in zip(*((rule.name, kind) for kind, rule in rules), strict=True)
    )
    for kind, rule in rules:
        print(make_printable(f"{rule.name:{name_width}}  {kind:{kind_width}}  {describe_rule(rule)}".rstrip()))
    return 0


def _draw(events: EventsConfig, source: str, path: Path) -> None:
    refuse_overwriting(path, Path(source))
    image = take_snapshot(source)
    engine = EventEngine(events)
    height, width = image.shape[:2]
    engine.update((), 0.0, (width, height))
    write_image(path, draw_rules(image, engine.get_states()))
    show_note(f"zones and lines: {path}")


command = Command(
    "check",
    EventsCheckOptions,
    run,
    description="""\
Check the rules of a configuration file and print one line per rule: name, kind, and the keys that differ
from their defaults. With --image and --draw, its zones and lines are drawn on an image.""",
    examples="""\
  edgepose events check camera.toml
  edgepose events check camera.toml --image photo.jpg --draw zones.jpg
  edgepose events check camera.toml --image v4l2:0 --draw zones.jpg""",
    parameters=[
        Argument("config", "configuration file with the rules", type=PathName(), metavar="FILE.toml"),
        Option("--image", type=InputName(), metavar="SOURCE", section="Drawing",
               help="image, video (its first frame), or camera on which zones and lines are drawn"),
        Option("--draw", type=PathName(), metavar="IMAGE", section="Drawing", help="image that is written"),
    ],
)  # fmt: skip
