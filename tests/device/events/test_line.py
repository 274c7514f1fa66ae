"""Crossings of lines: direction, jitter, missing keypoints, people who are lost."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from edgepose.device.events.config import EventsConfig
from edgepose.device.events.engine import EventEngine
from edgepose.device.events.line import LineConfig

from .walkers import FRAME, Way, make_pose, make_random_way, play, run

ACROSS = ((0.0, 0.75), (1.0, 0.75))
"""From left to right at y = 360."""


def count(ways: Sequence[Way], line: LineConfig | None = None, seconds: float = 4, **noise: float) -> tuple[int, int]:
    """Return the crossings in and out, as counted and as reported."""
    engine = EventEngine(EventsConfig(line=(line or LineConfig(name="door", points=ACROSS),)))
    events = run(engine, play(ways, seconds=seconds, **noise))  # type: ignore[arg-type]
    counts = engine.get_states()[0].counts
    reported = [sum(event.direction == direction for event in events) for direction in ("in", "out")]
    assert reported == [counts["in"], counts["out"]]
    assert all(event.event == "cross" and event.state == "once" for event in events)
    return counts["in"], counts["out"]


def walk(start: tuple[float, float], end: tuple[float, float], seconds: float = 3.0) -> Way:
    return lambda time_s: (
        start[0] + (end[0] - start[0]) * min(1, time_s / seconds),
        start[1] + (end[1] - start[1]) * min(1, time_s / seconds),
    )


def test_in_is_to_the_right_of_the_line() -> None:
    down, up = walk((320, 250), (320, 460)), walk((320, 460), (320, 250))
    assert count([down]) == (1, 0)
    assert count([up]) == (0, 1)
    assert count([down], LineConfig(name="door", points=ACROSS, swap=True)) == (0, 1)
    assert count([down], LineConfig(name="door", points=ACROSS[::-1])) == (0, 1)
    assert count([down], LineConfig(name="door", points=((0.0, 360.0), (640.0, 360.0)))) == (1, 0)


def test_only_the_line_itself_counts() -> None:
    short = LineConfig(name="door", points=((0.0, 0.75), (0.3, 0.75)))
    assert count([walk((320, 250), (320, 460))], short) == (0, 0)
    assert count([walk((100, 250), (100, 460))], short) == (1, 0)
    bent = LineConfig(name="corner", points=((0.2, 0.75), (0.5, 0.75), (0.5, 1.0)))
    assert count([walk((200, 250), (200, 460))], bent) == (1, 0)
    assert count([walk((500, 430), (200, 430))], bent) == (1, 0)


def test_who_wavers_on_the_line_counts_once_or_never() -> None:
    def waver(time_s: float) -> tuple[float, float]:
        return 320, 360 + (8 if int(time_s * 4) % 2 else -8)

    assert count([waver], seconds=10, noise_px=2, missing=0.3) == (0, 0)

    def waver_and_go(time_s: float) -> tuple[float, float]:
        return (320, 300) if time_s < 1 else (320, 440) if time_s > 8 else waver(time_s)

    assert count([waver_and_go], seconds=10, noise_px=2, missing=0.3) == (1, 0)


@pytest.mark.parametrize("seed", range(8))
def test_counts_are_exact_with_noise_and_missing_keypoints(seed: int) -> None:
    rng = random.Random(seed)
    seconds, height = 30.0, rng.choice([80.0, 140.0, 220.0])
    way = make_random_way(rng, seconds)

    def count_truth(margin: float) -> int:
        total, side = 0, 0
        for step in range(int(seconds * 50)):
            distance = way(step / 50)[1] - 360  # type: ignore[index]
            now = 1 if distance > margin * height else -1 if distance < -margin * height else 0
            total += now != 0 and side not in (0, now)
            side = now or side
        return total

    found = sum(count([way], seconds=seconds, height=height, missing=0.3, noise_px=2.0, fps=12, seed=seed))
    # Whoever turns around between 2 % and 20 % of their height behind the line may count or not.
    assert count_truth(0.2) <= found <= count_truth(0.02)


def test_a_person_lost_while_crossing_counts() -> None:
    def hide(time_s: float) -> tuple[float, float] | None:
        return None if 1.2 < time_s < 1.9 else (320, 250 + 70 * time_s)

    assert count([hide]) == (1, 0)

    def vanish(time_s: float) -> tuple[float, float] | None:
        return (320, 250 + 70 * time_s) if time_s < 1.8 else None  # 16 px behind the line

    assert count([vanish]) == (1, 0)


def test_fast_people_count_and_exchanged_people_do_not() -> None:
    def run_fast(time_s: float) -> tuple[float, float]:
        return 30 + 900 * (time_s % 0.6), 400

    line = LineConfig(name="door", points=((320.0, 0.0), (320.0, 480.0)))
    assert count([lambda time_s: run_fast(time_s) if time_s < 0.6 else (560.0, 400.0)], line, fps=12) == (0, 1)
    engine = EventEngine(EventsConfig(line=(line,)))
    for frame in range(20):
        left, right = (1, 2) if frame < 10 else (2, 1)
        poses = [make_pose((60, 400), 100, left), make_pose((580, 400), 100, right)]
        assert not engine.update(poses, frame / 10, FRAME)


def test_the_cooldown_hides_events_but_counts() -> None:
    engine = EventEngine(EventsConfig(line=(LineConfig(name="door", points=ACROSS, cooldown_s=60),)))

    def back_and_forth(time_s: float) -> tuple[float, float]:
        return 320, 360 + 60 * math.cos(math.pi * time_s)

    events = run(engine, play([back_and_forth], seconds=6))
    assert len(events) == 1
    assert sum(engine.get_states()[0].counts.values()) == 6


def test_a_keypoint_can_be_the_anchor() -> None:
    line = LineConfig(name="head", points=((0.0, 0.5), (1.0, 0.5)), anchor="nose")
    assert count([walk((320, 350), (320, 470))], line) == (1, 0)


@pytest.mark.parametrize("end", [1.0, 0.995, 0.9])
def test_a_line_at_the_edge_of_the_frame_goes_on_beyond_it(end: float) -> None:
    """The estimated feet of people near the camera are below the picture."""
    line = LineConfig(name="door", points=((0.5, 0.0), (0.5, end)))
    close = walk((100, 600), (540, 600))
    expected = (0, 1) if end > 0.99 else (0, 0)
    assert count([close], line, height=500) == expected
    assert count([close], LineConfig(name="door", points=((0.5, end), (0.5, 0.3))), height=500) == expected[::-1]
    assert count([close], LineConfig(name="door", points=((0.4, 0.5), (0.5, 0.6), (0.5, end))), height=500) == expected
    shape = EventEngine(EventsConfig(line=(line,)))
    shape.update([], 0.0, FRAME)
    assert shape.get_states()[0].shape == ((320, 0), (320, end * 480)), "what is drawn ends at the edge"
