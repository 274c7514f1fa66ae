"""What to do when the board is too hot: cheaper models first, then fewer frames; and back, slowly."""

from __future__ import annotations

from time import monotonic

from ..monitor.health import Health

_DWELL_HOT_S = 15.0
_DWELL_COOL_S = 60.0
"""How long a level is kept before the next step down, or back up: boards heat and cool in minutes."""
_THINNING = (2, 4)
"""Every n-th frame, once there is no cheaper model."""


class Adaptation:
    """A level from 0 (normal): models in their order, then frames left out. Hysteresis: `cool_c` < `hot_c`."""

    def __init__(self, models: int, hot_c: float, cool_c: float) -> None:
        """`models`: how many there are, the normal one included."""
        self._models, self._hot_c, self._cool_c = models, hot_c, cool_c
        self._changed_s = -_DWELL_COOL_S
        self.level = 0

    @property
    def model(self) -> int:
        """Which model to run."""
        return min(self.level, self._models - 1)

    @property
    def every_nth(self) -> int:
        """Of how many frames one is looked at."""
        beyond = self.level - (self._models - 1)
        return _THINNING[beyond - 1] if beyond > 0 else 1

    def update(self, health: Health, now_s: float | None = None) -> bool:
        """Looks at the board; says whether the level has changed."""
        now_s = monotonic() if now_s is None else now_s
        hot = health.throttled or (health.temperature_c is not None and health.temperature_c >= self._hot_c)
        cool = not health.throttled and (health.temperature_c is None or health.temperature_c <= self._cool_c)
        since = now_s - self._changed_s
        if hot and since >= _DWELL_HOT_S and self.level < self._models - 1 + len(_THINNING):
            self.level += 1
        elif cool and since >= _DWELL_COOL_S and self.level > 0:
            self.level -= 1
        else:
            return False
        self._changed_s = now_s
        return True
