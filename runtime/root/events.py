"""Events from poses, in Python: zones, lines, postures, falls, gestures, angles, repetitions, expressions.

>>> import edgepose, edgepose.events
>>> engine = edgepose.events.EventEngine(edgepose.events.load_rules("rules.toml"))
>>> for frame, poses in edgepose.stream("clip.mp4"):
...     height, width = frame.image.shape[:2]
...     for event in engine.update(poses, frame.timestamp_ns / 1e9, (width, height)):
...         print(event.event, event.state, event.rule, event.person)

`setup.py` installs this file as `edgepose.events`. docs/guides/events.md describes the rules.
"""

from .device.events.angle import AngleConfig
from .device.events.config import EventsConfig
from .device.events.engine import EventEngine
from .device.events.event import Event, RuleInfo, RuleState
from .device.events.expression import ExpressionConfig
from .device.events.fall import FallConfig
from .device.events.gesture import GestureConfig
from .device.events.line import LineConfig
from .device.events.load import load_rules, parse_rules
from .device.events.posture import PostureConfig
from .device.events.repetitions import RepetitionsConfig
from .device.events.zone import ZoneConfig

__all__ = [
    "AngleConfig", "Event", "EventEngine", "EventsConfig", "ExpressionConfig", "FallConfig", "GestureConfig",
    "LineConfig", "PostureConfig", "RepetitionsConfig", "RuleInfo", "RuleState", "ZoneConfig", "load_rules",
    "parse_rules",
]  # fmt: skip
