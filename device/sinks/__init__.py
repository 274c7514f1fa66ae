"""Where poses go: any number of sinks at once, none of which can slow the loop."""

from .base import Message, Sink, SinkError

__all__ = ["Message", "Sink", "SinkError"]
