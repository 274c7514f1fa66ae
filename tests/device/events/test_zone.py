"""Zones: enter and leave, dwell, count, capacity, noise at the border."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from edgepose.device.events.config import EventsConfig
from edgepose.device.events.engine import EventEngine
from edgepose.device.events.event import Event
from edgepose.device.events.zone import ZoneConfig

from .test_engine import LEFT, check_pairs
from .walkers import FRAME, LEFT_ANKLE, RIGHT_ANKLE, Way, make_pose, play, run


def run_zone(config: ZoneConfig, ways: list[Way], seconds: float = 6, **noise: float) -> list[Event]:
    engine = EventEngine(EventsConfig(zone=(config,)))
    events = run(engine, play(ways, seconds=seconds, **noise))  # type: ignore[arg-type]
    check_pairs(events)
    return events


def cross_over(time_s: float) -> tuple[float, float]:
    """Walk from x = 120 to x = 520: out of the left half at 2 s."""
    return 120 + 100 * min(time_s, 4), 400


def test_enter_and_leave_have_the_times_of_the_border() -> None:
    enter, leave = run_zone(ZoneConfig(name="left", polygon=LEFT), [cross_over], missing=0.3, noise_px=2)
    assert (enter.event, enter.state, enter.zone, enter.count) == ("enter", "started", "left", 1)
    assert enter.started_s == 0 and enter.time_s == pytest.approx(0.2, abs=0.1)
    assert (leave.event, leave.state, leave.zone, leave.count) == ("leave", "ended", "left", 0)
    assert leave.time_s == pytest.approx(2.1, abs=0.25)


def test_who_stands_on_the_border_enters_once() -> None:
    events = run_zone(
        ZoneConfig(name="left", polygon=LEFT), [lambda time_s: (318, 400)], seconds=30, missing=0.3, noise_px=2
    )
    assert [event.event for event in events] == ["enter", "leave"]


def test_dwell() -> None:
    config = ZoneConfig(name="left", polygon=LEFT, dwell_s=1.5)
    events = run_zone(config, [cross_over])
    assert [(event.event, event.state) for event in events] == [
        ("enter", "started"), ("dwell", "started"), ("dwell", "ended"), ("leave", "ended"),
    ]  # fmt: skip
    assert events[1].time_s == pytest.approx(1.5, abs=0.1) and events[1].id != events[0].id
    assert not [one for one in run_zone(ZoneConfig(name="left", polygon=LEFT, dwell_s=5), [cross_over])
                if one.event == "dwell"]  # fmt: skip
    only = run_zone(ZoneConfig(name="left", polygon=LEFT, dwell_s=1.5, enter_leave=False), [cross_over])
    assert {event.event for event in only} == {"dwell"}


def test_capacity() -> None:
    config = ZoneConfig(name="left", polygon=LEFT, capacity=1, enter_leave=False)
    events = run_zone(config, [cross_over, lambda time_s: (100, 300), lambda time_s: (600, 300)])
    started, ended = events
    assert (started.event, started.person, started.count, started.pose) == ("capacity", 0, 2, None)
    assert (ended.count, ended.id) == (1, started.id)
    assert ended.time_s == pytest.approx(2.6, abs=0.3)


def test_the_cooldown_hides_events_but_counts() -> None:
    def in_and_out(time_s: float) -> tuple[float, float]:
        return 320 + 80 * math.cos(time_s), 400

    engine = EventEngine(EventsConfig(zone=(ZoneConfig(name="left", polygon=LEFT, cooldown_s=60),)))
    people = set()
    events: list[Event] = []
    for time_s, poses in play([in_and_out], seconds=20):
        events += engine.update(poses, time_s, FRAME)
        people.add(engine.get_states()[0].counts["people"])
    events += engine.finish()
    check_pairs(events)
    assert [event.event for event in events] == ["enter", "leave"]
    assert people == {0, 1}
    assert engine.rules[0].info.events == ("enter", "leave")


def test_hidden_feet_are_estimated() -> None:
    strip = ((0.0, 380.0), (640.0, 380.0), (640.0, 420.0), (0.0, 420.0))
    engine = EventEngine(EventsConfig(zone=(ZoneConfig(name="floor", polygon=strip),)))
    events: list[Event] = []
    for frame in range(60):
        pose = make_pose((200 + frame, 400), 200, 1)
        if frame > 20:
            pose.keypoints[[RIGHT_ANKLE, LEFT_ANKLE]] = 0
        events += engine.update([pose], frame / 10, FRAME)
    assert [event.event for event in events] == ["enter"]
    hidden = EventEngine(EventsConfig(zone=(ZoneConfig(name="floor", polygon=strip),)))
    for frame in range(10):
        pose = make_pose((200, 400), 200, 1)
        pose.keypoints[[RIGHT_ANKLE, LEFT_ANKLE]] = 0
        hidden.update([pose], frame / 10, FRAME)
    assert hidden.get_states()[0].people == (1,)


def test_the_feet_hardly_move_if_keypoints_are_missing() -> None:
    from edgepose.device.events.body_anchor import BodyAnchor, BodyIndex
    from edgepose.runtime.skeleton import COCO18

    rng = np.random.default_rng(0)
    anchor, errors = BodyAnchor(BodyIndex.of(COCO18)), []
    for frame in range(200):
        pose = make_pose((100 + 2 * frame, 400), 200)
        pose.keypoints[:, :2] += rng.normal(0, 2, (18, 2))
        pose.keypoints[rng.random(18) < 0.3] = 0
        anchor.observe(pose.keypoints.tolist(), frame / 12)
        errors.append((anchor.feet[0] - 100 - 2 * frame, anchor.feet[1] - 400))
    assert np.abs(np.array(errors)[10:]).max() < 0.04 * 200
    assert anchor.height == pytest.approx(200, rel=0.15)


def test_an_anchor_that_is_hidden_keeps_the_state() -> None:
    engine = EventEngine(EventsConfig(zone=(ZoneConfig(name="left", polygon=LEFT, anchor="nose"),)))
    events: list[Event] = []
    for frame in range(40):
        pose = make_pose((100 if frame < 10 else 500, 400), 200, 1)
        if frame >= 5:
            pose.keypoints[0] = 0
        events += engine.update([pose], frame / 10, FRAME)
    assert [event.event for event in events] == ["enter"]


def test_a_polygon_outside_of_the_frame_is_logged_once_per_frame_size(caplog: pytest.LogCaptureFixture) -> None:
    corners = ((700.0, 0.0), (800.0, 0.0), (800.0, 100.0))
    engine = EventEngine(EventsConfig(zone=(ZoneConfig(name="far", polygon=corners),)))
    with caplog.at_level(logging.WARNING, "edgepose"):
        for frame in range(5):
            engine.update([], frame, FRAME)
        engine.update([], 9, (1280, 720))
    assert [record.getMessage() for record in caplog.records] == [
        "rule 'far': polygon: all points are outside of the frame of 640x480 pixels; use pixels of this frame, or "
        "shares from 0 to 1"
    ]
    assert engine.get_states()[0].shape == corners


def test_a_closed_polygon_is_accepted() -> None:
    config = ZoneConfig(name="left", polygon=(*LEFT, LEFT[0]))
    config.check()
    assert config.corners == LEFT


def test_feet_below_the_frame_are_in_a_zone_that_ends_there() -> None:
    lower = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
    engine = EventEngine(EventsConfig(zone=(ZoneConfig(name="desk", polygon=lower),)))
    for frame in range(10):
        pose = make_pose((300, 700), 400, 1)
        pose.keypoints[pose.keypoints[:, 1] > 480] = 0
        engine.update([pose], frame / 10, FRAME)
    assert engine.get_states()[0].people == (1,)
