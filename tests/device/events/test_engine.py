"""The engine as a whole: pairs of events, people who are lost, times that go back, settings of all rules."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepose.device.events.angle import AngleConfig
from edgepose.device.events.config import EventsConfig
from edgepose.device.events.engine import EventEngine
from edgepose.device.events.event import Event
from edgepose.device.events.expression import ExpressionConfig
from edgepose.device.events.fall import FallConfig
from edgepose.device.events.gesture import GestureConfig
from edgepose.device.events.line import LineConfig
from edgepose.device.events.posture import PostureConfig
from edgepose.device.events.repetitions import RepetitionsConfig
from edgepose.device.events.zone import ZoneConfig
from edgepose.runtime.skeleton import get_skeleton
from edgepose.runtime.types import Pose

from .walkers import FRAME, make_pose

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
ALL = EventsConfig(
    zone=(
        ZoneConfig(name="left", polygon=LEFT, dwell_s=0.5, capacity=1),
        ZoneConfig(name="nose", polygon=LEFT, anchor="nose", cooldown_s=1.0, for_s=0, release_s=0, min_score=0.3),
        ZoneConfig(name="quiet", polygon=LEFT, enter_leave=False, dwell_s=0.0, capacity=0, cooldown_s=0.5),
    ),
    line=(LineConfig(name="door", points=((0.5, 0.0), (0.5, 1.0)), outside=("nose",)),),
    posture=(PostureConfig(name="posture"),),
    fall=(FallConfig(name="fall"),),
    gesture=(GestureConfig(name="hand", gesture="hand_raised"),),
    angle=(AngleConfig(name="angle", keypoints=("hip", "knee", "ankle"), below=100.0, inside=("left",)),),
    repetitions=(RepetitionsConfig(name="squats", preset="squat"),),
    expression=(
        ExpressionConfig(name="hands", expression="distance(left_wrist, right_wrist) < 0.3 * height", cooldown_s=0.3),
        ExpressionConfig(name="fast", expression="speed > 0.5 or center.x < 100", for_s=0, release_s=0, min_height=0.1),
    ),
)

coordinates = st.floats(-1e4, 1e4, width=32) | st.floats(0, 640, width=32)
odd_coordinates = coordinates | st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30])


@st.composite
def odd_poses(draw: st.DrawFn, person: int) -> Pose:
    count = draw(st.integers(1, 18))
    keypoints = np.zeros((18, 3), np.float32)
    for index in draw(st.lists(st.integers(0, 17), min_size=count, max_size=count)):
        keypoints[index] = draw(odd_coordinates), draw(odd_coordinates), draw(st.floats(0, 1.5, width=32))
    return Pose(keypoints, draw(st.floats(0, 1)), person)


@st.composite
def plain_poses(draw: st.DrawFn, person: int) -> Pose:
    feet = draw(st.floats(0, 640)), draw(st.floats(100, 480))
    pose = make_pose(feet, draw(st.sampled_from([60.0, 200.0])), person, draw(st.floats(-0.2, 0.2)))
    pose.keypoints[draw(st.lists(st.integers(0, 17), max_size=12))] = 0
    return pose


@st.composite
def frames(draw: st.DrawFn) -> list[tuple[float, list[Pose]]]:
    time_s = draw(st.floats(0, 1e6))
    kinds = plain_poses if draw(st.booleans()) else odd_poses
    found = []
    for _ in range(draw(st.integers(1, 15))):
        time_s += draw(st.sampled_from([0.0, 0.1, 0.3, 0.9, 1.5, 30.0, -5.0]))
        people = draw(st.lists(st.integers(0, 4), max_size=3, unique=True))
        found.append((time_s, [draw(kinds(person)) for person in people]))
    return found


def check_pairs(events: Sequence[Event]) -> None:
    """Every `started` has exactly one `ended`, later, not before its beginning."""
    started: dict[str, Event] = {}
    ended = set()
    for event in events:
        if event.state == "once":
            assert event.id not in started
            continue
        if event.state == "started":
            assert event.id not in started
            assert event.started_s <= event.time_s and event.duration_s is None
            started[event.id] = event
        else:
            first = started[event.id]
            assert event.id not in ended
            ended.add(event.id)
            assert (event.rule, event.started_s) == (first.rule, first.started_s)
            assert event.duration_s is not None and event.duration_s >= 0
            assert event.time_s == pytest.approx(event.started_s + event.duration_s)
    assert ended == set(started)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames())
def test_any_poses_at_any_time_cause_complete_events_and_no_error(
    frames: list[tuple[float, list[Pose]]],
) -> None:
    errors: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("edgepose")
    logger.addHandler(handler)
    try:
        engine = EventEngine(ALL)
        events: list[Event] = []
        for time_s, poses in frames:
            events += engine.update(poses, time_s, FRAME, 1.7e9)
            for state in engine.get_states():
                assert all(count >= 0 for count in state.counts.values())
        events += engine.finish()
    finally:
        logger.removeHandler(handler)
    assert not errors
    check_pairs(events)
    assert not any(state.people or state.active for state in engine.get_states())
    assert not engine.finish()


def make_engine(**config: object) -> EventEngine:
    return EventEngine(EventsConfig(**config))  # type: ignore[arg-type]


def stand(engine: EventEngine, person: int, x: float, start_s: float, end_s: float, **keys: object) -> list[Event]:
    """Let a person stand at a place; return the events."""
    events = []
    for frame in range(round((end_s - start_s) * 10)):
        pose = make_pose((x, 400.0), person=person)
        events += engine.update([pose], start_s + frame / 10, FRAME, **keys)  # type: ignore[arg-type]
    return events


def test_a_person_lost_for_a_moment_keeps_the_state() -> None:
    engine = make_engine(zone=(ZoneConfig(name="left", polygon=LEFT),))
    events = stand(engine, 1, 100, 0, 2)
    for frame in range(9):
        events += engine.update([], 2 + frame / 10, FRAME)
    events += stand(engine, 1, 110, 2.9, 4)
    assert [event.event for event in events] == ["enter"]
    events += engine.update([], 5.1, FRAME)
    enter, leave = events
    assert (leave.event, leave.id, leave.person) == ("leave", enter.id, 1)
    assert leave.time_s == pytest.approx(3.9) and leave.reported_s == 5.1


def test_a_new_number_takes_over_the_state() -> None:
    engine = make_engine(zone=(ZoneConfig(name="left", polygon=LEFT),))
    events = [*stand(engine, 1, 100, 0, 2), *stand(engine, 7, 120, 2.3, 4), *engine.finish()]
    assert [(event.event, event.person) for event in events] == [("enter", 1), ("leave", 7)]
    far = make_engine(zone=(ZoneConfig(name="left", polygon=LEFT),))
    events = [*stand(far, 1, 20, 0, 2), *stand(far, 7, 315, 2.1, 5), *far.finish()]
    assert [(event.event, event.person) for event in events] == [
        ("enter", 1), ("enter", 7), ("leave", 1), ("leave", 7),
    ]  # fmt: skip


def test_a_time_that_goes_back_ends_everything_and_keeps_the_counts() -> None:
    engine = make_engine(
        zone=(ZoneConfig(name="left", polygon=LEFT),), line=(LineConfig(name="door", points=((0.5, 0.0), (0.5, 1.0))),)
    )
    events = [*stand(engine, 1, 380, 100, 101), *stand(engine, 1, 260, 101, 102)]
    assert [event.event for event in events] == ["cross", "enter"]
    events = stand(engine, 1, 260, 3, 4)
    assert events[0].time_s == pytest.approx(101.9)
    assert [event.event for event in events] == ["leave", "enter"]
    assert sum(engine.get_states()[1].counts.values()) == 1


def test_a_defect_of_one_rule_is_logged_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    engine = make_engine(zone=(ZoneConfig(name="a", polygon=LEFT), ZoneConfig(name="b", polygon=LEFT)))

    def fail(*arguments: object) -> list[Event]:
        raise ZeroDivisionError("oops")

    for name in ("update", "forget", "finish", "get_state"):
        setattr(engine.rules[0], name, fail)
    events = [*stand(engine, 1, 100, 0, 1), *engine.finish()]
    assert [(event.rule, event.event) for event in events] == [("b", "enter"), ("b", "leave")]
    assert [state.rule for state in engine.get_states()] == ["a", "b"]
    assert [record.getMessage() for record in caplog.records] == [
        "rule 'a' failed: ZeroDivisionError: oops; please report this"
    ]


def test_limits_zones_and_cameras() -> None:
    expression = ExpressionConfig(name="e", expression="height > 0", for_s=0, release_s=0)
    zone = ZoneConfig(name="left", polygon=LEFT)

    def count(config: ExpressionConfig, x: float = 100, camera: str = "") -> int:
        engine = EventEngine(EventsConfig(zone=(zone,), expression=(config,)), camera=camera)
        events = [*stand(engine, 1, x, 0, 1), *engine.finish()]
        check_pairs(events)
        return sum(event.rule == "e" for event in events)

    assert count(expression) == 2
    assert count(replace(expression, min_score=0.81)) == 0
    assert count(replace(expression, min_score=0.79)) == 2
    assert count(replace(expression, min_height=0.6)) == 0
    assert count(replace(expression, min_height=0.3)) == 2
    assert count(replace(expression, inside=("left",))) == 2
    assert count(replace(expression, inside=("left",)), 500) == 0
    assert count(replace(expression, outside=("left",))) == 0
    assert count(replace(expression, outside=("left",)), 500) == 2
    assert count(replace(expression, cameras=("door",)), camera="door") == 2
    assert count(replace(expression, cameras=("door",)), camera="yard") == 0
    assert count(replace(expression, cameras=("door",))) == 2


def test_events_of_other_rules_name_the_zone() -> None:
    engine = make_engine(
        zone=(ZoneConfig(name="left", polygon=LEFT),),
        expression=(ExpressionConfig(name="e", expression="height > 0", for_s=0.3, release_s=0),),
    )
    events = [event for event in stand(engine, 1, 100, 0, 1) if event.rule == "e"]
    assert [(event.zone, event.started_s, event.time_s) for event in events] == [("left", 0.0, pytest.approx(0.3))]


def test_a_schedule_ends_what_has_started() -> None:
    def get_wall_s(hour: int) -> float:
        import time

        return time.mktime((2026, 11, 30, hour, 0, 0, 0, 0, -1))

    engine = make_engine(zone=(ZoneConfig(name="left", polygon=LEFT, hours="22:00-06:00"),))
    assert not stand(engine, 1, 100, 0, 1, wall_s=get_wall_s(21))
    events = stand(engine, 1, 100, 1, 2, wall_s=get_wall_s(22))
    events += stand(engine, 1, 100, 2, 3, wall_s=get_wall_s(6))
    assert [event.event for event in events] == ["enter", "leave"]
    assert events[1].time_s == pytest.approx(1.9)
    assert not engine.get_states()[0].active


def test_the_cooldown_hides_events_of_the_same_person() -> None:
    config = ExpressionConfig(name="e", expression="center.x < 320", for_s=0, release_s=0, cooldown_s=5)
    engine = make_engine(expression=(config,))
    events = []
    for second in range(10):
        events += stand(engine, 1, 100 if second % 2 else 500, second, second + 1)
    times = [round(event.time_s) for event in events if event.state == "started"]
    assert len(times) == 2 and times[1] - times[0] >= 5


def test_people_without_a_number_are_ignored_and_wrong_calls_are_named() -> None:
    engine = make_engine(zone=(ZoneConfig(name="left", polygon=LEFT),))
    assert not stand(engine, 0, 100, 0, 1)
    with pytest.raises(ValueError, match="expected times in seconds, got nan"):
        engine.update([], float("nan"), FRAME)
    with pytest.raises(ValueError, match="expected poses with 18 keypoints, got 25"):
        engine.update([Pose(np.ones((25, 3), np.float32), 1.0, 1)], 9.0, FRAME)
    hand = EventEngine(EventsConfig(zone=(ZoneConfig(name="left", polygon=LEFT),)), get_skeleton("hand21"))
    for frame in range(9):
        pose = Pose(np.full((21, 3), 100, np.float32), 1.0, 1, get_skeleton("hand21"))
        hand.update([pose], frame / 10, FRAME)
    assert hand.get_states()[0].counts == {"people": 1}
    with pytest.raises(ValueError, match=r"events.zone\[0\].anchor: no keypoint 'nos'; did you mean nose\?"):
        make_engine(zone=(ZoneConfig(name="left", polygon=LEFT, anchor="nos"),))


def test_identifiers_are_unique() -> None:
    engines = [make_engine(zone=(ZoneConfig(name="left", polygon=LEFT),)) for _ in range(3)]
    events = [event for engine in engines for event in stand(engine, 1, 100, 0, 1)]
    assert len({event.id for event in events}) == len(events) == 3


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_keypoint_that_is_no_number_is_missing(wrong: float) -> None:
    engine = EventEngine(EventsConfig(zone=(ZoneConfig(name="yard", polygon=LEFT, dwell_s=1.0),)))
    events = []
    for frame in range(50):
        pose = make_pose((160, 300), person=1)
        if frame == 20:
            pose.keypoints[:14:2, :2] = wrong
        events += engine.update([pose], frame / 10, FRAME)
    assert [event.event for event in events] == ["enter", "dwell"]
