"""Table `[clips]` of the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass

from ..sinks.sizes import parse_size

_MIN_LIMIT_BYTES = 10_000_000


@dataclass(frozen=True)
class ClipsConfig:
    """What is recorded of events; docs/guides/clips.md describes the keys. Nothing is recorded without `folder`.

    Attributes:
        folder: Folder of the files; "": nothing is recorded. Placeholders are replaced.
        rules: Rules whose events cause clips; (): all rules.
        before_s: Seconds before the event, 0 to 60.
        after_s: Seconds after the event, or after its end, 0 to 600.
        max_s: Maximum length of a clip in seconds, at most 3600.
        fps: Maximum frames per second of a clip, at most 60.
        snapshot: True to write an image of the frame of the event.
        video: True to write a video.
        keep: Maximum number of clips in the folder; None: no limit.
        days: Maximum age of a clip in days; None: no limit.
        limit: Maximum size of all clips in the folder.
        free: Minimum free space on the disk.
    """

    folder: str = ""
    rules: tuple[str, ...] = ()
    before_s: float = 5.0
    after_s: float = 5.0
    max_s: float = 60.0
    fps: float = 10.0
    snapshot: bool = True
    video: bool = True
    keep: int | None = None
    days: float | None = None
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
            f"before_s: expected 0 to 60, got {self.before_s:g}": 0 <= self.before_s <= 60,
            f"after_s: expected 0 to 600, got {self.after_s:g}": 0 <= self.after_s <= 600,
            f"max_s: expected 1 to 3600, got {self.max_s:g}": 1 <= self.max_s <= 3600,
            f"max_s: expected at least before_s + after_s ({self.before_s + self.after_s:g}), got {self.max_s:g}":
                self.max_s >= self.before_s + self.after_s,
            f"fps: expected more than 0 and at most 60, got {self.fps:g}": 0 < self.fps <= 60,
            f"keep: expected 1 or more, got {self.keep}": self.keep is None or self.keep >= 1,
            f"days: expected more than 0, got {self.days}": self.days is None or self.days > 0,
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
