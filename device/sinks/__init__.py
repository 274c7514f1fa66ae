"""Sinks: outputs for poses. Several can run at once; each has its own thread, so none slows down the camera loop."""

from .base import Message, Sink, SinkError

__all__ = ["Message", "Sink", "SinkError"]
