"""The commands `edgepose events test` and `check`: videos, images, recorded poses, drawings, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgepose
from edgepose.device.event_test.report import format_time
from edgepose.device.event_test.summary import Summary
from edgepose.device.events.event import Event, RuleState
from edgepose.runtime.errors import InputError
from edgepose.runtime.io import formats
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import EstimateResult, Frame, Pose, Timings

from ..conftest import call_edgepose, run_edgepose

pytestmark = pytest.mark.once
WIDTH, HEIGHT, FPS = 480, 240, 10
ZONES = """\
[[events.zone]]
name = "left"
for_s = 0
release_s = 0
polygon = [[0, 0], [0.4, 0], [0.4, 1], [0, 1]]
[[events.zone]]
name = "right"
for_s = 0
release_s = 0
polygon = [[0.6, 0], [1, 0], [1, 1], [0.6, 1]]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(ZONES)
    return path


def make_frames(count: int = 30) -> list[tuple[np.ndarray, np.ndarray]]:
    """One person who is moved from the left to the right: images and keypoints."""
    scene = Scene(1, 160, HEIGHT)
    frames = []
    for index in range(count):
        drawn, x = scene.render_frame(index), round(index * (WIDTH - 160) / (count - 1))
        image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        image[:, x : x + 160] = drawn.image
        frames.append((image, drawn.keypoints[0] + (x, 0)))
    return frames


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    for image, _ in make_frames():
        writer.write(image)
    writer.release()
    return path


def write_poses(path: Path, *, person: int = 0, camera: str = "", timed: bool = True) -> Path:
    """Write what `edgepose run` (without a person number) or `edgepose camera` would write."""
    lines = []
    for index, (image, keypoints) in enumerate(make_frames()):
        pose = Pose(np.column_stack((keypoints, np.ones(18))).astype(np.float32), 0.9, person)
        frame = Frame(image, "walk.avi", index, index * 10**9 // FPS if timed else 0)
        estimate = EstimateResult((pose,), Timings(1, 2, 3))
        lines.append(formats.format_edgepose_line(frame, estimate, device="pi", camera=camera))
    path.write_text("\n".join(lines) + "\n")
    return path


def list_events(text: str) -> list[tuple[str, str]]:
    return [(event["event"], event["rule"]) for event in map(json.loads, text.splitlines())]


def test_events_of_a_video(video: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Text, summary and a drawn video that shows who is in which zone."""
    drawn = tmp_path / "events.mp4"
    done = call_edgepose(capfd, "events", "test", video, "--config", config, "--draw", drawn)
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert lines[0] == "00:00.0  left   enter, person 1"
    assert [line.split()[1:3] for line in lines[:4]] == [
        ["left", "enter,"], ["left", "leave,"], ["right", "enter,"], ["right", "leave,"]
    ]  # fmt: skip
    assert lines[4] == ""
    assert lines[5] == "30 frames, 2.9 s, 1 person, 4 events"
    assert "zone  1 x enter (" in lines[6]
    assert "at most 1 at once" in lines[7]
    capture = cv2.VideoCapture(str(drawn))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    _, first = capture.read()
    blue, _, red = first[200:230, 15:40].reshape(-1, 3).mean(axis=0)
    assert blue > red + 20, "the zone with the person is filled with its color"
    assert list(tmp_path.glob(".*")) == []


def test_the_events_are_those_of_the_camera_loop(video: Path, config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Both commands report the same events at the same times with the same keypoints."""
    config.write_text(f'{ZONES}[camera]\nsource = "{video}"\nreal_time = false\n[output]\nsinks = ["-"]\n')
    done = call_edgepose(capfd, "events", "test", video, "--config", config, "--json")
    tested = [json.loads(line) for line in done.stdout.splitlines()]
    camera = call_edgepose(capfd, "camera", "--config", config).stdout.splitlines()
    lived = [event for event in map(json.loads, camera) if "event" in event]
    ignored = ("id", "time", "started", "ended", "device", "source")
    for event in (*tested, *lived):
        for key in ignored:
            event.pop(key, None)
    assert len(tested) == 4
    assert tested == lived


@pytest.mark.parametrize("person", [0, 7])
def test_recorded_poses_need_no_network(
    person: int, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """People without numbers are tracked; numbers of the camera loop are kept."""
    poses = write_poses(tmp_path / "poses.jsonl", person=person)
    done = call_edgepose(capfd, "events", "test", poses, "--config", config, "-m", "no-such-model.tflite")
    assert done.returncode == 0, done
    assert f"left   enter, person {person or 1}" in done.stdout
    assert "30 frames, 2.9 s, 1 person, 4 events" in done.stdout


def test_json_lines_have_the_time_of_the_frames(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`--start` gives the wall-clock time of the first frame; the summary is on stderr."""
    poses = write_poses(tmp_path / "poses.jsonl", person=1)
    arguments = ("events", "test", poses, "--config", config, "--json", "--start", "2026-05-04T07:30:00+00:00")
    done = call_edgepose(capfd, *arguments)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["enter", "leave", "enter", "leave"]
    assert events[0]["time"] == "2026-05-04T07:30:00.000Z"
    assert events[1]["ended"] > events[1]["started"] == "2026-05-04T07:30:00.000Z"
    assert "30 frames" in done.stderr
    assert call_edgepose(capfd, *arguments, "-q").stderr == ""


def test_the_wall_clock_time_of_a_video_is_unknown(
    video: Path, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A video is read faster than it was taken: the clock of the test says nothing about it."""
    done = call_edgepose(capfd, "events", "test", video, "--config", config, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(events) == 4
    assert {event["time"] for event in events} == {event["started"] for event in events} == {None}
    assert [event["timestamp_ns"] for event in events] == sorted(event["timestamp_ns"] for event in events)


def test_images_are_frames_of_a_video(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A folder of images has the frame rate of `--fps`; an unreadable image is named and gives exit code 1."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index, (image, _) in enumerate(make_frames(8)):
        cv2.imwrite(str(folder / f"{index:02d}.png"), image)
    done = call_edgepose(capfd, "events", "test", folder, "--config", config, "--fps", "2")
    assert done.returncode == 0, done
    assert "8 frames, 3.5 s" in done.stdout
    (folder / "05.png").write_bytes(b"no image")
    broken = run_edgepose("events", "test", folder, "--config", config, "--fps", "2")
    assert broken.returncode == 1
    assert "05.png" in broken.stderr
    assert "7 frames" in broken.stdout


def test_a_video_that_ends_too_early_keeps_its_events(video: Path, config: Path, tmp_path: Path) -> None:
    """The events so far are printed, the drawn video is finished, and the exit code is 1."""
    cut = tmp_path / "cut.avi"
    content = video.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    drawn = tmp_path / "events.mp4"
    done = run_edgepose("events", "test", cut, "--config", config, "--draw", drawn)
    assert done.returncode == 1, done
    assert "cut.avi" in done.stderr
    assert "left   enter" in done.stdout
    assert "left   leave" in done.stdout
    assert drawn.is_file()


def test_seconds_end_a_video_early(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The limit is a time of the source, not of the clock."""
    poses = write_poses(tmp_path / "poses.jsonl", person=1)
    done = call_edgepose(capfd, "events", "test", poses, "--config", config, "--seconds", "1")
    assert "10 frames, 0.9 s" in done.stdout


def test_poses_of_images_get_times(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines of single images have no time."""
    poses = write_poses(tmp_path / "poses.jsonl", person=1, timed=False)
    done = call_edgepose(capfd, "events", "test", poses, "--config", config, "--fps", "5")
    assert "30 frames, 5.8 s" in done.stdout


def change_line(path: Path, number: int, **values: Any) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **values})
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"poses": [{"score": 0.5, "keypoints": [[1, 2, 3]]}]}, "expected 18 keypoints (coco18), got 1"),
        ({"poses": [{"score": 0.5, "keypoints": [[1, 2]]}]}, "keypoints[0]: expected 3 values"),
        ({"poses": [{"score": float("nan"), "keypoints": []}]}, "score: expected a number"),
        ({"width": 0}, "expected a width and height from 1 to 16384, got 0x240"),
        ({"height": 10**9}, "expected a width and height"),
        ({"skeleton": "../../etc/passwd"}, "unknown skeleton"),
        ({"camera": "yard"}, "use --camera"),
        ({"timestamp_ns": 5}, "the time goes back"),
    ],
)
def test_a_wrong_line_is_named(
    values: dict[str, Any], words: str, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The events before the line are printed; the exit code is 1."""
    poses = write_poses(tmp_path / "poses.jsonl", person=1, camera="door")
    change_line(poses, 20, **values)
    done = call_edgepose(capfd, "events", "test", poses, "--config", config)
    assert done.returncode == 1, done
    assert "line 20" in done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "left   enter" in done.stdout
    assert "left   leave" in done.stdout


def test_one_of_several_cameras_is_chosen(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines of other cameras and events are skipped."""
    poses = write_poses(tmp_path / "poses.jsonl", person=1, camera="door")
    change_line(poses, 3, camera="yard", timestamp_ns=0)
    change_line(poses, 4, event="enter")
    done = call_edgepose(capfd, "events", "test", poses, "--config", config, "--camera", "door")
    assert (done.returncode, done.stdout.splitlines()[5].split(",")[0]) == (0, "28 frames")
    missing = call_edgepose(capfd, "events", "test", poses, "--config", config, "--camera", "roof")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "of the camera roof" in missing.stderr


def test_a_camera_that_the_file_does_not_name_is_an_error(
    video: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The names are those of the sources, else those of the rules; recorded poses may have others than the rules."""
    config.write_text(f'{ZONES}cameras = ["door", "yard"]\n')
    poses = write_poses(tmp_path / "poses.jsonl", person=1, camera="roof")
    wrong = call_edgepose(capfd, "events", "test", video, "--config", config, "--camera", "dor")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert "--camera: " in wrong.stderr
    assert "has no camera 'dor'; did you mean door?" in wrong.stderr
    assert call_edgepose(capfd, "events", "test", poses, "--config", config, "--camera", "roof").returncode == 0
    config.write_text(f'{ZONES}[camera]\nsources = ["door=v4l2:0", "yard=v4l2:1"]\n')
    wrong = call_edgepose(capfd, "events", "test", poses, "--config", config, "--camera", "roof")
    assert (wrong.returncode, "has no camera 'roof'; expected one of door, yard" in wrong.stderr) == (2, True)


def test_lines_of_late_events_name_the_time_at_which_they_began(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An event that is reported without delay has no such time."""
    poses = write_poses(tmp_path / "poses.jsonl", person=1)
    config.write_text(ZONES.replace("for_s = 0", "for_s = 0.5", 1))
    lines = call_edgepose(capfd, "events", "test", poses, "--config", config).stdout.splitlines()
    assert lines[0] == "00:00.5  left   enter, person 1, since 00:00.0"
    assert "right  enter, person 1" in lines[2] and "since" not in lines[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["test", "walk.mp4", "--config", "rules.toml"], "no such file"),
        (["test", "poses.jsonl", "--config", "missing.toml"], "cannot read the configuration"),
        (["test", "poses.jsonl", "--config", "empty.toml"], "no rules"),
        (["test", "poses.jsonl", "--config", "wrong.toml"], "polygn"),
        (["test", "poses.jsonl"], "--config is required"),
        (["test", "empty.jsonl", "--config", "rules.toml"], "expected JSON lines"),
        (["test", "binary.jsonl", "--config", "rules.toml"], "line 1: not JSON; expected a line"),
        (["test", "deep.jsonl", "--config", "rules.toml"], "line 1: not JSON; expected a line"),
        (["test", "poses.jsonl", "--config", "rules.toml", "--draw", "a.jpg"], "expected a video"),
        (["test", "poses.jsonl", "--config", "rules.toml", "--draw", "nowhere/a.mp4"], "there is no folder"),
        (["test", "poses.jsonl", "--config", "rules.toml", "--start", "7:30"], "2026-05-04T07:30"),
        (["test", "poses.jsonl", "--config", "rules.toml", "--fps", "0"], "--fps: expected"),
        (["tets"], "did you mean test?"),
        (["check", "empty.toml"], "no rules"),
        (["check", "rules.toml", "--draw", "a.jpg"], "expected both or none"),
        (["check", "rules.toml", "--draw", "a.jpg", "--image", "missing.jpg"], "missing.jpg"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], words: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Exit code 2, nothing on stdout."""
    monkeypatch.chdir(tmp_path)
    write_poses(tmp_path / "poses.jsonl")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "binary.jsonl").write_bytes(bytes(range(128, 256)))
    (tmp_path / "deep.jsonl").write_text("[" * 1_000_000)
    (tmp_path / "empty.toml").write_text("[loop]\n")
    (tmp_path / "wrong.toml").write_text(ZONES.replace("polygon", "polygn"))
    done = call_edgepose(capfd, "events", *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("edgepose events")
    assert done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr


def test_check_lists_and_draws_the_rules(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line per rule, and an image with the zones."""
    photo, drawn = tmp_path / "photo.png", tmp_path / "zones.png"
    cv2.imwrite(str(photo), np.full((HEIGHT, WIDTH, 3), 100, np.uint8))
    done = call_edgepose(capfd, "events", "check", config, "--image", photo, "--draw", drawn)
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [
        "left   zone  for_s = 0, release_s = 0, polygon = 4 points",
        "right  zone  for_s = 0, release_s = 0, polygon = 4 points",
    ]
    image = cv2.imread(str(drawn))
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert (image[120, 192] != 100).any(), "the border of the left zone"
    config.write_text('[[events.zone]]\nname = "yard"\npolygon = [[0, 0], [9000, 0], [9000, 100]]\n')
    done = run_edgepose("events", "check", config, "--image", photo, "--draw", drawn)
    assert "edgepose: rule 'yard': polygon: some points are outside" in done.stderr


def test_errors_about_keypoints_name_the_line(
    config: Path, video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are found later than others: when the skeleton is known."""
    config.write_text(ZONES + '[[events.zone]]\nname = "bed"\npolygon = [[0, 0], [1, 0], [1, 1]]\nanchor = "nos"\n')
    poses = write_poses(tmp_path / "poses.jsonl", person=1)
    for arguments in (
        ("events", "check", config),
        ("events", "test", poses, "--config", config),
        ("events", "test", video, "--config", config),
        ("camera", "--source", video, "--config", config, "--sink", "-"),
        ("camera", "--source", f"a={video}", "--config", config, "--sink", "-"),
    ):
        done = call_edgepose(capfd, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
        assert f"{config}: line 14: events.zone[2].anchor: " in done.stderr
        assert "did you mean nose?" in done.stderr
    with pytest.raises(InputError, match=r"line 14: events\.zone\[2\]\.anchor"):
        edgepose.run_camera(lambda frame, poses: None, config=config, source=str(video))


def test_the_group_shows_its_commands(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a subcommand, the help text is shown with exit code 2, as for `edgepose`."""
    done = call_edgepose(capfd, "events")
    assert done.returncode == 2
    for name in ("edit", "check", "test"):
        assert f"\n  {name} " in done.stdout
        assert "Examples:" in call_edgepose(capfd, "events", name, "--help").stdout


def test_the_summary_counts_per_rule() -> None:
    """Lines show their counts, repetitions those of each person, other rules the number and total duration."""
    summary = Summary()
    summary.add_frame(2.0, ())
    rules = [
        RuleState("door", "line", False, counts={"in": 3, "out": 1}),
        RuleState("squats", "repetitions", False),
        RuleState("posture", "posture", False),
        RuleState("fall", "fall", False),
    ]

    def make(event: str, rule: str, kind: str, state: str, **values: Any) -> Event:
        return Event(event, state, rule, kind, values.pop("id", "x"), values.pop("person", 1), 1.0, 1.0, **values)  # type: ignore[arg-type]

    events = [make("repetition", "squats", "repetitions", "once", person=person) for person in (1, 1, 4)]
    events += [
        make("posture", "posture", "posture", state, label="lying", duration_s=duration)
        for state, duration in (("started", None), ("ended", 4.5))
    ]
    summary.add_events(events, rules)
    assert summary.describe() == [
        "1 frame, 2.0 s, 0 people, 5 events",
        "  door     line         in 3, out 1",
        "  squats   repetitions  3 repetitions (person 1: 2, person 4: 1)",
        "  posture  posture      1 x lying (4.5 s)",
        "  fall     fall         no events",
    ]


def test_times() -> None:
    """Minutes and tenths of a second; hours if there are any."""
    assert [format_time(seconds) for seconds in (0, 12.44, 59.96, 3725.5)] == [
        "00:00.0", "00:12.4", "01:00.0", "1:02:05.5"
    ]  # fmt: skip
