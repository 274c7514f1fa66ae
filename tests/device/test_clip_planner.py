"""Which frames belong to a clip, and the names of its files."""

from __future__ import annotations

import pytest

from edgepose.device.clips.planner import ClipPlanner
from edgepose.device.events.event import Event

from .clip_helpers import make_event, make_settings

pytestmark = pytest.mark.once

Planned = list[tuple[float, tuple[Event, ...], str]]


def plan(planner: ClipPlanner, seconds: float, events: dict[float, list[Event]], start_s: float = 100.0) -> Planned:
    """Send frames at 10 FPS with events at these seconds; return time, events and clip of each frame."""
    found = []
    for tick in range(round(seconds * 10)):
        at_s = tick / 10
        given = events.get(at_s, [])
        minutes, rest = divmod(at_s, 60)
        captured_at = f"2026-05-04T07:{31 + int(minutes):02d}:{rest:06.3f}Z"
        planned = planner.update(given, start_s + at_s, captured_at)
        found.append((at_s, planned.events, planned.clip))
    return found


def list_clips(frames: Planned) -> dict[str, tuple[float, float]]:
    """Return the first and the last second of each clip."""
    clips: dict[str, tuple[float, float]] = {}
    for at_s, _, stem in frames:
        if stem:
            clips[stem] = clips.get(stem, (at_s, 0))[0], at_s
    return clips


def test_a_clip_ends_some_time_after_its_last_event() -> None:
    planner = ClipPlanner(make_settings(max_s=60), "Front door")
    frames = plan(planner, 12, {2.0: [make_event()], 2.5: [make_event()], 6.0: [make_event(rule="Zone 2")]})
    assert list_clips(frames) == {
        "2026-05-04T073102Z-front-door-fall": (2.0, 3.5), "2026-05-04T073106Z-front-door-zone-2": (6.0, 7.0),
    }  # fmt: skip
    (event,) = frames[20][1]
    assert event.clip == "2026-05-04T073102Z-front-door-fall.mp4"
    assert event.snapshot == "2026-05-04T073102Z-front-door-fall.jpg"


def test_an_event_that_lasts_keeps_the_clip_open_until_the_limit() -> None:
    started, ended = make_event("started"), make_event("ended")
    planner = ClipPlanner(make_settings(), "door")
    frames = plan(planner, 12, {2.0: [started], 7.0: [ended]})
    assert list(list_clips(frames).values()) == [(2.0, 8.0)]
    planner = ClipPlanner(make_settings(), "door")
    frames = plan(planner, 40, {2.0: [started], 30.0: [ended]})
    assert list(list_clips(frames).values()) == [(2.0, 10.9)], "10 s with the second before the event"
    (first,), (last,) = frames[20][1], frames[300][1]
    assert (last.clip, last.snapshot) == (first.clip, first.snapshot), "the end names the clip of the beginning"


def test_the_end_without_its_clip_causes_none() -> None:
    planner = ClipPlanner(make_settings(), "door")
    frames = plan(planner, 5, {2.0: [make_event("ended")]})
    assert not list_clips(frames)
    assert frames[20][1][0].clip == ""


def test_only_the_chosen_rules_cause_clips_but_all_events_name_them() -> None:
    planner = ClipPlanner(make_settings(rules=("fall",)), "door")
    events = {1.0: [make_event(rule="zone")], 3.0: [make_event()], 3.8: [make_event(rule="zone")]}
    frames = plan(planner, 8, events)
    assert list(list_clips(frames).values()) == [(3.0, 4.0)], "another rule does not make it longer"
    assert [frame[1][0].clip[-8:] for frame in frames if frame[1]] == ["", "fall.mp4", "fall.mp4"]
    assert [frame[1][0].snapshot[-8:] for frame in frames if frame[1]] == ["", "fall.jpg", ""]


def test_names_are_never_used_twice_when_the_clock_is_set_back() -> None:
    planner = ClipPlanner(make_settings(), "door")
    planner.reserve(["2026-05-04T073102Z-door-fall"])
    stems = []
    for start_s in (100.0, 200.0, 300.0):
        stems += list_clips(plan(planner, 5, {2.0: [make_event()]}, start_s))
    assert stems == [f"2026-05-04T073102Z-door-fall-{number}" for number in (2, 3, 4)]


def test_a_storm_of_events_has_few_snapshots_and_clips_of_bounded_length() -> None:
    planner = ClipPlanner(make_settings(max_s=60), "door")
    storm = [make_event(rule=f"rule {number % 3}", identifier=str(number)) for number in range(10)]
    frames = plan(planner, 120, {tick / 10: storm for tick in range(1200)})
    clips = list_clips(frames)
    assert len(clips) == 3
    assert all(end - begin < 60 for begin, end in clips.values())
    snapshots = {event.snapshot for _, events, _ in frames for event in events}
    assert len(snapshots) == 20 + 20 + 2
    assert all(event.snapshot for _, events, _ in frames for event in events), "later events share the last one"


def test_events_of_one_frame_share_a_snapshot_and_later_ones_have_their_own() -> None:
    planner = ClipPlanner(make_settings(max_s=60), "door")
    both = [make_event(rule="zone"), make_event(rule="fall")]
    frames = plan(planner, 9, {1.0: both, 1.5: [make_event(rule="zone")], 2.4: [make_event(rule="fall")]})
    names = [[event.snapshot.removeprefix("2026-05-04T073101Z-door-zone") for event in frame[1]] for frame in frames]
    assert [name for name in names if name] == [[".jpg", ".jpg"], [".jpg"], [".2.jpg"]]


def test_a_clip_begins_before_the_event_and_not_before_its_report() -> None:
    """A fall is reported after the person has stayed on the floor for some seconds."""
    settings = make_settings(max_s=30)
    assert ClipPlanner(settings, "door").update([make_event(started_s=94.0)], 100.0, None).clip_s == pytest.approx(7.0)
    assert ClipPlanner(settings, "door").update([make_event(started_s=40.0)], 100.0, None).clip_s == pytest.approx(11.0)
    planner = ClipPlanner(make_settings(max_s=5), "door")
    assert planner.update([make_event(started_s=94.0)], 100.0, None).clip_s == pytest.approx(4.0)
    assert planner.update([], 100.9, None).clip, "the end of the clip is not lost"


def test_a_repeated_video_ends_the_clip() -> None:
    planner = ClipPlanner(make_settings(), "door")
    planner.update([make_event("started")], 50.0, None)
    assert planner.update([], 0.0, None) == ((), "", 0.0)


def test_clips_without_videos_or_snapshots() -> None:
    planner = ClipPlanner(make_settings(video=False), "door")
    (event,), stem, _ = planner.update([make_event()], 1.0, None)
    assert (event.clip, event.snapshot) == ("", f"{stem}.jpg")
    planner = ClipPlanner(make_settings(snapshot=False), "door")
    (event,), stem, _ = planner.update([make_event()], 1.0, None)
    assert (event.clip, event.snapshot) == (f"{stem}.mp4", "")
