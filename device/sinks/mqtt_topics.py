"""Topics of the MQTT sink."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Topics:
    """Topics below the prefix `base`."""

    base: str
    poses: str = field(init=False)
    """Each frame with its poses, as in docs/reference/output.md."""
    people: str = field(init=False)
    """Number of people (retained)."""
    occupancy: str = field(init=False)
    """`ON` or `OFF` (retained)."""
    events: str = field(init=False)
    """Each event of the rules as JSON, as in docs/reference/output.md."""
    rules: str = field(init=False)
    """State of all rules as JSON, by the name of the rule (retained)."""
    state: str = field(init=False)
    """State of the camera loop as JSON (retained)."""
    status: str = field(init=False)
    """`online` or `offline` (retained, also the last will)."""
    image: str = field(init=False)
    """JPEG (not retained, so that no image stays on the broker)."""
    pause_command: str = field(init=False)
    """Read by the sink: `ON` pauses the camera loop, `OFF` resumes it."""

    def __post_init__(self) -> None:
        for name in ("poses", "people", "occupancy", "events", "rules", "state", "status", "image"):
            object.__setattr__(self, name, f"{self.base}/{name}")
        object.__setattr__(self, "pause_command", f"{self.base}/pause/set")
