"""Drawing of rule states: zones, lines, counts, labels of people and recent events."""

from __future__ import annotations

import numpy as np
import pytest

from edgepose.device.events.config import EventsConfig
from edgepose.device.events.draw import RecentEvents, draw_rules, find_in_arrow
from edgepose.device.events.engine import EventEngine
from edgepose.device.events.event import Event, RuleState
from edgepose.device.events.line import LineConfig
from edgepose.device.events.text import describe_counts, describe_event, describe_person
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import Pose
from edgepose.runtime.visualize.draw import draw_poses, locate_number

SQUARE = ((20.0, 20.0), (120.0, 20.0), (120.0, 120.0), (20.0, 120.0))


def make_poses(width: int, height: int, people: int = 3) -> tuple[Pose, ...]:
    frame = Scene(people, width, height).render_frame(3)
    ones = np.ones((18, 1), np.float32)
    return tuple(
        Pose(np.concatenate([points, ones], axis=1), 0.9, number + 1) for number, points in enumerate(frame.keypoints)
    )


def make_event(event: str = "fall", **values: object) -> Event:
    settings = {"state": "started", "rule": "fall", "kind": "fall", "id": "a-1", "person": 3, "time_s": 1.0}
    return Event(event, **{"started_s": 1.0, **settings, **values})  # type: ignore[arg-type]


def test_only_an_active_zone_is_filled() -> None:
    """The middle of the zone changes only while somebody is in it, and the image of the caller never changes."""
    image = np.full((240, 320, 3), 90, np.uint8)
    idle = draw_rules(image, [RuleState("yard", "zone", False, (), {"people": 0}, shape=SQUARE)])
    active = draw_rules(image, [RuleState("yard", "zone", True, (1,), {"people": 1}, shape=SQUARE)])
    assert (idle[100, 70] == 90).all()
    assert (active[45:115, 25:115] != 90).any(axis=2).all()
    assert (active[180, 70] == 90).all(), "outside of the zone"
    assert (idle[70, 20] != 90).any(), "outline"
    assert (image == 90).all()


@pytest.mark.parametrize("shape", [(240, 320, 3), (1080, 1920, 3), (12, 16, 3)])
def test_shapes_outside_of_the_image_are_drawn_as_far_as_they_are_in_it(shape: tuple[int, int, int]) -> None:
    """A zone that is partly or completely outside raises no error."""
    image = np.zeros(shape, np.uint8)
    for dx, dy in ((-60, -60), (-5000, 10), (2e9, 2e9)):
        moved = tuple((x + dx, y + dy) for x, y in SQUARE)
        draw_rules(image, [RuleState("a", "zone", True, (), {"people": 2}, shape=moved)])
        draw_rules(image, [RuleState("b", "line", False, (), {"in": 2}, shape=moved[:2])])


def test_the_arrow_of_a_line_points_to_the_side_that_counts_as_in() -> None:
    """A line from the left to the right has its arrow below, the title is above."""
    image = np.zeros((240, 320, 3), np.uint8)
    state = RuleState("door", "line", False, (), {"in": 1, "out": 0}, shape=((40, 120), (280, 120)))
    drawn = draw_rules(image, [state])
    assert drawn[128:150, 150:170].any()
    assert not drawn[150:].any()
    swapped = draw_rules(image, [RuleState("door", "line", False, (), {}, shape=((280, 120), (40, 120)))])
    assert swapped[90:112, 155:165].any()


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("points", [((0.1, 0.5), (0.9, 0.5)), ((0.9, 0.5), (0.1, 0.5))])
def test_who_walks_along_the_arrow_counts_as_in(swap: bool, points: tuple[tuple[float, float], ...]) -> None:
    """The drawing and the rule mean the same direction."""
    config = EventsConfig(line=(LineConfig(name="door", points=points, swap=swap),))
    still = EventEngine(config)
    still.update((), 0.0, (640, 480))
    (x, y), (dx, dy) = find_in_arrow(still.get_states()[0].shape)
    pose = make_poses(640, 480, 1)[0]
    feet = pose.keypoints[[10, 13], :2].mean(axis=0)
    for direction, sign in (("in", 1), ("out", -1)):
        engine, events = EventEngine(config), []
        for step in range(-20, 21):
            moved = pose.keypoints.copy()
            moved[:, 0] += x - feet[0] + sign * dx * step * 8
            moved[:, 1] += y - feet[1] + sign * dy * step * 8
            events += engine.update((Pose(moved, 0.9, 1),), (step + 20) / 10, (640, 480))
        assert [event.direction for event in (*events, *engine.finish())] == [direction]


def test_a_line_may_have_several_pieces() -> None:
    """It is not closed, not filled, and has one arrow, at its longest piece."""
    image = np.zeros((240, 320, 3), np.uint8)
    shape = ((40.0, 60.0), (40.0, 200.0), (80.0, 200.0))
    drawn = draw_rules(image, [RuleState("door", "line", False, (), {"in": 1, "out": 0}, shape=shape)])
    assert drawn[130, 40].any()
    assert drawn[200, 60].any()
    assert not drawn[165:179, 68:76].any(), "not closed"
    assert drawn[120:140, 20:34].any(), "going down, the right side is on the left"


@pytest.mark.parametrize(("width", "height"), [(320, 240), (640, 480), (1920, 1080)])
def test_labels_leave_the_numbers_of_people_readable(width: int, height: int) -> None:
    """The pixels of each number are the same with and without labels."""
    poses = make_poses(width, height)
    image = draw_poses(np.full((height, width, 3), 120, np.uint8), poses)
    labels = {pose.person: "standing" for pose in poses}
    drawn = draw_rules(image, [RuleState("posture", "posture", True, (1, 2, 3), labels=labels)], poses)
    assert (drawn != image).any()
    for pose in poses:
        box = locate_number(pose, image.shape)
        place = np.s_[int(box.y) : int(box.y + box.height), int(box.x) : int(box.x + box.width)]
        assert (drawn[place] == image[place]).all(), pose.person


def test_names_that_opencv_cannot_draw_do_not_stop_the_drawing() -> None:
    """Accents are removed, and text is limited in length."""
    image = np.zeros((240, 320, 3), np.uint8)
    for name in ("Küche", "玄関", "x" * 500, ""):
        draw_rules(image, [RuleState(name, "zone", True, (), {"people": 1}, shape=SQUARE)], events=[make_event()])


def test_people_without_a_number_or_keypoints_get_no_label() -> None:
    """Without tracking there are no labels, and an empty pose is skipped."""
    image = np.zeros((240, 320, 3), np.uint8)
    poses = [Pose(np.zeros((18, 3), np.float32), 0.1, 2), Pose(np.full((18, 3), 50, np.float32), 0.1)]
    state = RuleState("posture", "posture", True, (0, 2), labels={0: "lying", 2: "lying"})
    assert not draw_rules(image, [state], poses).any()


def test_recent_events_are_kept_for_three_seconds() -> None:
    """Old events go, also if the time of the source starts again."""
    recent = RecentEvents()
    assert recent.update([make_event()], 10.0)
    assert recent.update([], 12.9)
    assert not recent.update([], 13.1)
    assert len(recent.update([make_event() for _ in range(9)], 14.0)) == 4
    assert not recent.update([], 0.0)


def test_texts() -> None:
    """Events, counts and labels in words."""
    assert describe_event(make_event(zone="hall")) == "fall started, person 3, in hall"
    crossed = make_event("cross", state="once", rule="door", kind="line", direction="in", zone="")
    assert describe_event(crossed) == "cross in, person 3"
    gone = make_event("leave", state="ended", rule="yard", kind="zone", zone="yard", duration_s=4.25)
    assert describe_event(gone) == "leave, person 3, 4.2 s"
    squat = make_event("repetition", state="once", rule="squats", kind="repetitions", count=12, value=74.8)
    assert describe_event(squat) == "repetition 12, person 3, angle 75"
    assert describe_event(make_event(), "00:03.1") == "fall started, person 3, since 00:03.1"
    assert describe_event(make_event("posture", label="lying", person=0)) == "lying started"
    assert describe_counts(RuleState("a", "zone", True, counts={"people": 2})) == "2"
    assert describe_counts(RuleState("a", "line", True, counts={"in": 2, "out": 1})) == "in 2  out 1"
    assert describe_person(RuleState("squats", "repetitions", True, (3,), labels={3: "12"}), 3) == "squats 12"
    assert describe_person(RuleState("hand_raised", "gesture", True, (3,)), 3) == "hand raised"
    assert describe_person(RuleState("yard", "zone", True, (3,)), 3) == ""
