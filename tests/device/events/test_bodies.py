"""Posture, fall, gestures, angles and repetitions of synthetic people with exact truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

import edgepose.events
from edgepose.benchmarks.micro import events as figures
from edgepose.device.events.config import EventsConfig, create_rules
from edgepose.device.events.engine import EventEngine
from edgepose.device.events.event import Event
from edgepose.device.events.fall import FallConfig
from edgepose.device.events.posture import PostureConfig
from edgepose.device.events.repetitions import RepetitionsConfig
from edgepose.device.events.zone import ZoneConfig
from edgepose.runtime.errors import InputError
from edgepose.runtime.skeleton import get_skeleton
from edgepose.runtime.synthetic.actions import Actor, observe
from edgepose.runtime.synthetic.pinhole import PinholeCamera
from edgepose.runtime.types import Pose

pytestmark = pytest.mark.once

SETUP = figures.Setup(camera_m=1.9, distance_m=4.5, heading=90, missing=0.0, seed=3)
FALLS = EventsConfig(fall=(FallConfig(name="fall"),))


def act(
    script: Callable[[Actor], None], config: EventsConfig = figures.CONFIG, setup: figures.Setup = SETUP
) -> tuple[Actor, list[Event]]:
    actor = figures.make_actor(script, setup)
    return actor, figures.play([actor], setup, config)


def play_poses(frames: Sequence[tuple[float, list[Pose]]], config: EventsConfig) -> list[Event]:
    engine = EventEngine(config)
    events = [event for time_s, poses in frames for event in engine.update(poses, time_s, (640, 480))]
    return events + list(engine.finish())


def record(actor: Actor, number: Callable[[float], int | None], fps: float = 12) -> list[tuple[float, list[Pose]]]:
    """Return the exact poses of an actor; `number` gives the number of the person at a time, None if it is lost."""
    camera, rng = PinholeCamera(1.9).aim(4.5), np.random.default_rng(0)
    frames = []
    for index in range(int(actor.end_s * fps)):
        time_s = index / fps
        person = number(time_s)
        keypoints = observe(actor, camera, time_s, rng)
        frames.append((time_s, [] if person is None else [Pose(keypoints, 0.8, person)]))
    return frames


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_precision_and_recall(missing: float) -> None:
    """A small part of `python -m edgepose.benchmarks.micro.events`, with other seeds than those of the thresholds."""
    setups = figures.list_setups(missing, [200])[1::13]
    scores = figures.measure_scores(setups)
    for name in ("fall", "hand_raised", "standing", "sitting", "crouching", "lying", "squat", "curl"):
        assert scores[name].precision >= 0.75, f"{name}: {scores[name]}"
        assert scores[name].recall >= 0.75, f"{name}: {scores[name]}"


def test_an_idle_scene_has_no_events() -> None:
    counts = figures.count_idle_events(3, seed=200, missing=0.0)
    assert not counts


def test_a_fall_is_reported_with_its_times() -> None:
    actor, events = act(figures.SCRIPTS["fall forward"], FALLS)
    started, ended = [event for event in events if event.event == "fall"]
    truth = next(one for one in actor.truth if one.name == "fall")
    assert (started.state, ended.state, started.id) == ("started", "ended", ended.id)
    assert truth.start_s < started.started_s < truth.start_s + 1.6
    assert started.time_s >= started.started_s + 2.0
    assert started.pose is not None
    assert truth.end_s - 1 < ended.time_s < truth.end_s + 4
    assert ended.duration_s == pytest.approx(ended.time_s - started.started_s)


@pytest.mark.parametrize("script", ["lie down on a bed", "sit", "crouch", "bend", "squats", "push-ups", "talk"])
def test_what_is_no_fall(script: str) -> None:
    _, events = act(figures.SCRIPTS[script], FALLS)
    assert not events


@pytest.mark.parametrize("top", [0.475, 0.49, 0.51])
@pytest.mark.parametrize("script", ["lie down on a bed", "sit", "crouch", "fall forward"])
def test_who_comes_down_in_a_zone_that_is_left_out_has_not_fallen(script: str, top: float) -> None:
    actor = figures.make_actor(figures.SCRIPTS[script], SETUP)
    bed = ZoneConfig(
        name="bed", polygon=((0.0, top), (1.0, top), (1.0, 1.0), (0.0, 1.0)), anchor="center", enter_leave=False
    )
    config = EventsConfig(zone=(bed,), fall=(FallConfig(name="fall", outside=("bed",)),))
    assert not play_poses(record(actor, lambda time_s: 1), config)


@pytest.mark.parametrize("is_lost", [True, False])
@pytest.mark.parametrize("cooldown_s, count", [(0.0, 2), (60.0, 1)])
def test_the_cooldown_holds_for_people_who_are_lost_too(is_lost: bool, cooldown_s: float, count: int) -> None:
    actor = figures.make_actor(figures.SCRIPTS["fall forward"], SETUP)
    fall = next(one for one in actor.truth if one.name == "fall")
    frames = record(actor, lambda time_s: None if is_lost and fall.start_s + 0.8 < time_s < fall.end_s else 1)
    again = [(time_s + frames[-1][0] + 0.1, poses) for time_s, poses in frames]
    events = play_poses([*frames, *again], EventsConfig(fall=(FallConfig(name="fall", cooldown_s=cooldown_s),)))
    assert [event.state for event in events] == ["started", "ended"] * count


def test_a_short_fall_is_not_reported() -> None:
    _, events = act(figures.SCRIPTS["fall forward"], EventsConfig(fall=(FallConfig(name="fall", for_s=60),)))
    assert not events


def test_a_person_who_gets_a_new_number_in_the_fall_has_fallen() -> None:
    actor = figures.make_actor(figures.SCRIPTS["fall forward"], SETUP)
    fall_s = next(one.start_s for one in actor.truth if one.name == "fall")
    frames = record(actor, lambda time_s: 1 if time_s < fall_s + 0.2 else None if time_s < fall_s + 1.4 else 9)
    events = play_poses(frames, FALLS)
    assert [event.state for event in events] == ["started", "ended"]


def test_a_person_whom_the_network_loses_in_the_fall_has_fallen() -> None:
    actor = figures.make_actor(figures.SCRIPTS["fall forward"], SETUP)
    fall = next(one for one in actor.truth if one.name == "fall")
    frames = record(actor, lambda time_s: None if fall.start_s + 0.8 < time_s < fall.end_s else 1)
    events = play_poses(frames, FALLS)
    assert [event.state for event in events] == ["started", "ended"]
    assert fall.start_s < events[0].started_s < fall.start_s + 0.8


def test_a_person_who_is_lost_while_standing_has_not_fallen() -> None:
    actor = figures.make_actor(figures.SCRIPTS["talk"], SETUP)
    assert not play_poses(record(actor, lambda time_s: 1 if time_s < 6 else None), FALLS)


def test_the_state_shows_all_postures_and_events_only_the_wanted() -> None:
    actor = figures.make_actor(figures.SCRIPTS["sit"], SETUP)
    engine = EventEngine(EventsConfig(posture=(PostureConfig(name="posture", postures=("lying",)),)))
    labels = set()
    for time_s, poses in record(actor, lambda time_s: 1):
        assert not engine.update(poses, time_s, (640, 480))
        state = engine.get_states()[0]
        assert not state.active
        labels |= set(state.labels.values())
    assert labels == {"standing", "sitting"}


def test_legs_behind_a_table_leave_the_posture_unknown() -> None:
    actor = figures.make_actor(figures.SCRIPTS["sit"], SETUP)
    frames = record(actor, lambda time_s: 1)
    for _, poses in frames:
        poses[0].keypoints[[9, 10, 12, 13]] = 0
    assert not play_poses(frames, replace(figures.CONFIG, repetitions=(), gesture=()))


@pytest.mark.parametrize(("preset", "script"), [("squat", "squats"), ("curl", "curls both"), ("push_up", "push-ups")])
def test_repetitions_are_counted(preset: str, script: str) -> None:
    config = EventsConfig(repetitions=(RepetitionsConfig(name="count", preset=preset),))  # type: ignore[arg-type]
    _, events = act(figures.SCRIPTS[script], config, replace(SETUP, camera_m=1.2))
    assert [event.count for event in events] == [1, 2, 3, 4, 5]
    assert all(event.state == "once" and event.value is not None and event.value < 115 for event in events)


@pytest.mark.parametrize("series, count", [(1, 1), (2, 0)])
def test_a_single_repetition_is_no_series(series: int, count: int) -> None:
    config = EventsConfig(repetitions=(RepetitionsConfig(name="count", preset="squat", series=series),))

    def script(actor: Actor) -> None:
        actor.stand(2.5)
        actor.squat(1)
        actor.stand(3)

    _, events = act(script, config)
    assert len(events) == count


def test_the_first_repetition_is_reported_with_the_second_and_has_its_own_time() -> None:
    config = EventsConfig(repetitions=(RepetitionsConfig(name="count", preset="squat"),))
    actor, events = act(figures.SCRIPTS["squats"], config)
    ends = [one.end_s for one in actor.truth if one.name == "squat"]
    assert [event.time_s for event in events] == pytest.approx(ends, abs=0.7)
    assert events[0].reported_s == events[1].reported_s == events[1].time_s


@pytest.mark.parametrize("preset, script", [("curl", "cross arms"), ("curl", "talk"), ("push_up", "fall right")])
def test_what_is_no_repetition(preset: str, script: str) -> None:
    config = EventsConfig(repetitions=(RepetitionsConfig(name="count", preset=preset),))  # type: ignore[arg-type]
    _, events = act(figures.SCRIPTS[script], config, replace(SETUP, camera_m=2.6, distance_m=4.5, heading=315, seed=63))
    assert not events


def test_own_keypoints_are_counted_and_labeled() -> None:
    config = EventsConfig(
        repetitions=(RepetitionsConfig(name="legs", keypoints=("hip", "knee", "ankle"), low=110, high=150),)
    )
    actor = figures.make_actor(figures.SCRIPTS["squats"], SETUP)
    engine = EventEngine(config)
    for time_s, poses in record(actor, lambda time_s: 1):
        engine.update(poses, time_s, (640, 480))
    state = engine.get_states()[0]
    assert state.labels == {1: "5"}
    assert state.counts == {"repetitions": 5}


def test_an_angle_has_hysteresis_and_a_value() -> None:
    _, events = act(figures.SCRIPTS["squats"], replace(figures.CONFIG, repetitions=(), gesture=(), posture=(), fall=()))
    started = [event for event in events if event.state == "started"]
    assert len(started) == 5 or len(started) == 4
    assert all(event.value is not None and event.value < 105 for event in started)


@pytest.mark.parametrize("hand, count", [("any", 2), ("right", 2), ("left", 1), ("both", 1)])
def test_the_hand_can_be_chosen(hand: str, count: int) -> None:
    config = edgepose.events.parse_rules(f'[[events.gesture]]\nname = "a"\ngesture = "hand_raised"\nhand = "{hand}"')
    _, events = act(figures.SCRIPTS["raise right"], config, replace(SETUP, heading=180))
    assert sum(event.state == "started" for event in events) == count


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[events.posture]]\nname = "a"\npostures = ["laying"]', "postures"),
        ('[[events.posture]]\nname = "a"\npostures = []', "postures: expected some of standing"),
        ('[[events.fall]]\nname = "a"\nfor_s = -1', "for_s: expected 0 to 86400, got -1"),
        ('[[events.fall]]\nname = "a"\nwithin_s = 60', "within_s: expected 0.3 to 10, got 60"),
        ('[[events.gesture]]\nname = "a"\ngesture = "wave"', "gesture"),
        ('[[events.angle]]\nname = "a"\nkeypoints = ["hip", "knee", "ankle"]', "below: expected"),
        ('[[events.angle]]\nname = "a"\nkeypoints = ["hip", "knee", "ankle"]\nbelow = 50\nabove = 60', "use two rules"),
        ('[[events.repetitions]]\nname = "a"', "preset: expected a preset"),
        ('[[events.repetitions]]\nname = "a"\nkeypoints = ["hip", "knee", "ankle"]', "low: expected"),
        ('[[events.repetitions]]\nname = "a"\npreset = "squat"\nlow = 150', "high: expected at least 10 degrees more"),
    ],
)
def test_wrong_keys_are_named(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        edgepose.events.parse_rules(text)


@pytest.mark.parametrize(
    "names", [["hip", "nee", "ankle"], ["hip", "kene", "foot"], ["left_hip", "left_kne", "left_ankle"], ["hip", "knee"]]
)
def test_unknown_keypoints_are_named(names: list[str]) -> None:
    config = edgepose.events.parse_rules(f'[[events.angle]]\nname = "a"\nkeypoints = {names}\nbelow = 90')
    with pytest.raises(ValueError, match=r"keypoints: (no keypoint .*knee|expected three)"):
        create_rules(config)


def test_a_skeleton_without_a_body_is_refused() -> None:
    with pytest.raises(ValueError, match="shoulders, hips, knees and ankles"):
        create_rules(FALLS, get_skeleton("hand21"))


def test_other_skeletons_of_bodies_are_accepted() -> None:
    for name in ("body25", "trt_pose18", "mpi15"):
        create_rules(figures.CONFIG, get_skeleton(name))
