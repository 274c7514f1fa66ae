"""Table `[clips]` of the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from ...runtime.schema import Limits
from ..sinks.sizes import parse_size

_MIN_LIMIT_BYTES = 10_000_000


@dataclass(frozen=True)
class ClipsConfig:
    """What is recorded of events; see docs/guides/clips.md. Nothing is recorded without `folder`.

    Attributes:
        folder: Folder of the files; "": nothing is recorded. `{hostname}`, `{name}` and `{source}` are replaced.
        rules: Names of the rules whose events are recorded; (): all rules.
        before_s: Time before the event.
        after_s: Time after the event, or after its end.
        max_s: Maximum length of a clip; at least `before_s` and `after_s` together.
        fps: Maximum frames per second of a clip.
        snapshot: Write an image (JPEG) of the frame of the event.
        video: Write a video. H.264 in MP4 needs the extra `video`.
        keep: Maximum number of clips in the folder; the oldest are removed. None: no limit.
        days: Maximum age of a clip; older ones are removed. None: no limit.
        limit: Maximum size of all clips in the folder, 10MB or more; the oldest are removed.
        free: Minimum free space on the disk. If there is less, the oldest clips are removed; if that is not enough,
            nothing is recorded.
    """

    folder: str = ""
    rules: tuple[str, ...] = ()
    before_s: Annotated[float, Limits(0, 60, unit="s")] = 5.0
    after_s: Annotated[float, Limits(0, 600, unit="s")] = 5.0
    max_s: Annotated[float, Limits(1, 3600, unit="s")] = 60.0
    fps: Annotated[float, Limits(above=0, most=60)] = 10.0
    snapshot: bool = True
    video: bool = True
    keep: Annotated[int, Limits(1)] | None = None
    days: Annotated[float, Limits(above=0, unit="days")] | None = None
    limit: str = "2GB"
    free: str = "500MB"

    @property
    def limit_bytes(self) -> int:
        """`limit` in bytes."""
        return parse_size(self.limit)

    @property
    def free_bytes(self) -> int:
        """`free` in bytes."""
        return parse_size(self.free)

    def check(self, rules: Collection[str]) -> None:
        """Raise ValueError if a setting is out of range.

        Args:
            rules: Names of the rules of the configuration.
        """
        checks = {
            f"max_s: expected at least before_s + after_s ({self.before_s + self.after_s:g}), got {self.max_s:g}":
                self.max_s >= self.before_s + self.after_s,
            "video and snapshot: expected at least one of them to be true": self.video or self.snapshot,
            "folder: clips need at least one rule, such as [[events.zone]]": not self.folder or bool(rules),
        }  # fmt: skip
        for message, well in checks.items():
            if not well:
                raise ValueError(f"clips.{message}")
        self._check_sizes()
        for name in self.rules:
            if name not in rules:
                near = difflib.get_close_matches(name, rules, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"the rules are {', '.join(rules) or 'none'}"
                raise ValueError(f"clips.rules: there is no rule {name[:80]!r}; {hint}")

    def _check_sizes(self) -> None:
        for name in ("limit", "free"):
            try:
                size = parse_size(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"clips.{name}: {error}") from None
            if name == "limit" and size < _MIN_LIMIT_BYTES:
                raise ValueError(f"clips.limit: expected 10MB or more, got {self.limit!r}")
