"""Days and hours at which rules hold."""

from __future__ import annotations

import time

import pytest

from edgepose.device.events.schedule import Schedule, Weekday, parse_hours


def get_wall_s(day: int, hour: int, minute: int = 0) -> float:
    """Return a local time; day 1 is a Monday."""
    return time.mktime((2026, 6, day, hour, minute, 0, 0, 0, -1))


@pytest.mark.parametrize(
    "days, hours, day, hour, minute, holds",
    [
        ((), "", 1, 3, 0, True),
        ((), "08:00-17:30", 1, 8, 0, True),
        ((), "08:00-17:30", 1, 7, 59, False),
        ((), "08:00-17:30", 1, 17, 29, True),
        ((), "08:00-17:30", 1, 17, 30, False),
        ((), "22:00-06:00", 1, 23, 0, True),
        ((), "22:00-06:00", 1, 5, 59, True),
        ((), "22:00-06:00", 1, 6, 0, False),
        ((), "20:00-24:00", 1, 23, 59, True),
        ((), "20:00-24:00", 2, 0, 0, False),
        (("mon",), "", 1, 0, 0, True),
        (("mon",), "", 2, 0, 0, False),
        (("fri",), "22:00-06:00", 5, 23, 0, True),
        (("fri",), "22:00-06:00", 6, 5, 0, True),
        (("fri",), "22:00-06:00", 5, 5, 0, False),
        (("sun",), "22:00-06:00", 8, 5, 0, True),
    ],
)
def test_times(days: tuple[Weekday, ...], hours: str, day: int, hour: int, minute: int, holds: bool) -> None:
    assert Schedule(days, hours).holds(get_wall_s(day, hour, minute)) is holds


@pytest.mark.parametrize(
    "hours", ["8:00-9:00", "08:00", "08:00-25:00", "24:00-08:00", "08:00-24:01", "08:60-09:00", "08:00\u201309:00",
              "٠٨:00-09:00", "08:00-08:00", "08:00-09:00\n", "x" * 1000]
)  # fmt: skip
def test_hours_that_are_not_valid(hours: str) -> None:
    with pytest.raises(ValueError, match=r"^hours: expected") as caught:
        parse_hours(hours)
    assert len(str(caught.value)) < 200
