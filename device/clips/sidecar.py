"""The sidecar of a clip: a JSON file with what the clip shows and its events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class VideoMeasures:
    """What a video file tells about itself.

    Attributes:
        frames: Number of frames.
        duration_s: Time from the first to the last frame, in seconds.
        width: Width in pixels.
        height: Height in pixels.
    """

    frames: int
    duration_s: float
    width: int
    height: int


def format_sidecar(header: Mapping[str, Any], events: Sequence[str]) -> bytes:
    """Return the content of a sidecar: one event per line; each of them is JSON already."""
    return (f'{json.dumps(header)[:-1]}, "events": [\n' + ",\n".join(events) + "\n]}\n").encode()


def complete_sidecar(content: bytes, clip: str, measures: VideoMeasures | None) -> bytes | None:
    """Complete the sidecar that an interrupted process has left.

    Args:
        content: The sidecar.
        clip: Name of the video; "" if it was not usable.
        measures: Measures of the video; None if it was not usable.

    Returns:
        The new content; None if the sidecar is complete.

    Raises:
        ValueError: It is no sidecar.
    """
    found = json.loads(content)
    if not isinstance(found, dict) or not isinstance(events := found.pop("events", None), list):
        raise ValueError("expected a JSON object with events")
    if found.get("complete") is not False:
        return None
    # The time of the last frame that was written is not known.
    end = {"end": None} if "end" in found else {}
    header = {
        **found, "clip": clip or None, **end, **({} if measures is None else asdict(measures)), "complete": True
    }  # fmt: skip
    return format_sidecar(header, [json.dumps(event, separators=(",", ":")) for event in events])
