"""The command `edgepose events`: draw zones and lines, check rules, and test them on a video."""

from __future__ import annotations

from ...runtime.cli.command_group import CommandGroup, SubcommandEntry

command = CommandGroup(
    "events",
    {
        "edit": SubcommandEntry("edgepose.device.cli.events_edit", "draw zones and lines on an image in the browser"),
        "check": SubcommandEntry("edgepose.device.cli.events_check", "check the rules of a configuration file"),
        "test": SubcommandEntry("edgepose.device.cli.events_test", "run the rules over a video and print the events"),
    },
    description="""\
Set up the rules that turn poses into events: draw zones and lines, check the configuration file, and
test the rules on a video. docs/guides/events.md describes all rules.""",
    examples="""\
  edgepose events edit clip.mp4 --config camera.toml
  edgepose events check camera.toml --image photo.jpg --draw zones.jpg
  edgepose events test clip.mp4 --config camera.toml --draw events.mp4

`edgepose events COMMAND --help` shows the options of a command, with examples.""",
)
