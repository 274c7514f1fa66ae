"""Thermal control: a hot board runs a cheaper model, then processes fewer frames; it returns slowly when it is cool."""

from __future__ import annotations

from time import monotonic

from ..monitor.health import Health

_MIN_TIME_TO_SLOW_DOWN_S = 15.0
"""Minimum time between two steps down. Boards heat up and cool down in minutes."""
_MIN_TIME_TO_SPEED_UP_S = 60.0
"""Minimum time at a level before a step back up."""
_FRAME_INTERVALS = (2, 4)
"""After the cheapest model, only every n-th frame is processed."""


class ThermalController:
    """Controller that derives a slow-down level from the temperature, with hysteresis (`cool_c` < `hot_c`).

    Level 0 is normal operation. Each level uses the next cheaper model; the levels after the last model process only
    every second and every fourth frame.
    """

    def __init__(self, model_count: int, hot_c: float, cool_c: float) -> None:
        """Start at level 0.

        Args:
            model_count: Number of models, including the normal one.
            hot_c: Temperature in degrees Celsius at which the level rises.
            cool_c: Temperature in degrees Celsius at which the level falls.
        """
        self._model_count, self._hot_c, self._cool_c = model_count, hot_c, cool_c
        self._changed_s = -_MIN_TIME_TO_SPEED_UP_S
        self.level = 0

    @property
    def model_index(self) -> int:
        """Index of the model to run; 0 is the normal model."""
        return min(self.level, self._model_count - 1)

    @property
    def every_nth(self) -> int:
        """Interval between processed frames: 1 processes every frame, 2 every second one."""
        levels_after_models = self.level - (self._model_count - 1)
        return _FRAME_INTERVALS[levels_after_models - 1] if levels_after_models > 0 else 1

    def update(self, health: Health, now_s: float | None = None) -> bool:
        """Update the level by at most one step.

        Args:
            health: State of the board. Throttling by the firmware counts as hot at any temperature.
            now_s: Time in seconds; default: the monotonic clock.

        Returns:
            True if the level has changed.
        """
        now_s = monotonic() if now_s is None else now_s
        is_hot = health.throttled or (health.temperature_c is not None and health.temperature_c >= self._hot_c)
        is_cool = not health.throttled and (health.temperature_c is None or health.temperature_c <= self._cool_c)
        time_at_level_s = now_s - self._changed_s
        max_level = self._model_count - 1 + len(_FRAME_INTERVALS)
        if is_hot and time_at_level_s >= _MIN_TIME_TO_SLOW_DOWN_S and self.level < max_level:
            self.level += 1
        elif is_cool and time_at_level_s >= _MIN_TIME_TO_SPEED_UP_S and self.level > 0:
            self.level -= 1
        else:
            return False
        self._changed_s = now_s
        return True
