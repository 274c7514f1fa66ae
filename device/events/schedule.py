"""Times at which a rule holds: days of the week, and hours that may go across midnight."""

from __future__ import annotations

import re
import time
from typing import Literal, get_args

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

_DAYS: tuple[str, ...] = get_args(Weekday)
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
_DAY_MINUTES = 24 * 60


class Schedule:
    """Days and hours in local time. Hours across midnight belong to the day on which they begin."""

    def __init__(self, days: tuple[Weekday, ...], hours: str) -> None:
        """Create a schedule.

        Args:
            days: Days; (): every day.
            hours: `"22:00-06:00"`; "": all day.

        Raises:
            ValueError: The hours are not valid; the message begins with the key.
        """
        self._days = frozenset(_DAYS.index(day) for day in days) or frozenset(range(7))
        self._from, self._until = parse_hours(hours) if hours else (0, _DAY_MINUTES)
        self._minute: int | None = None
        self._holds = True
        self.is_always = len(self._days) == len(_DAYS) and not hours

    def holds(self, wall_s: float) -> bool:
        """Return True if the schedule holds at a Unix time."""
        minute = int(wall_s // 60)
        if minute != self._minute:
            self._minute, self._holds = minute, self._look_up(wall_s)
        return self._holds

    def _look_up(self, wall_s: float) -> bool:
        now = time.localtime(wall_s)
        minute, day = 60 * now.tm_hour + now.tm_min, now.tm_wday
        if self._from < self._until:
            return self._from <= minute < self._until and day in self._days
        if minute >= self._from:
            return day in self._days
        return minute < self._until and (day - 1) % 7 in self._days


def parse_hours(hours: str) -> tuple[int, int]:
    """Return the minutes of the day at which hours begin and end.

    Raises:
        ValueError: The hours are not valid; the message begins with the key.
    """
    match = _HOURS.fullmatch(hours)
    begin, end = (60 * int(match[1]) + int(match[2]), 60 * int(match[3]) + int(match[4])) if match else (0, 0)
    if match is None or end > _DAY_MINUTES:
        raise ValueError(f'hours: expected HH:MM-HH:MM such as "22:00-06:00", got {hours[:40]!r}')
    if begin == end:
        raise ValueError(f"hours: expected two different times, got {hours!r}; leave it out for the whole day")
    return begin, end
