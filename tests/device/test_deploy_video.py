"""What a configuration with events needs on a board: PyAV, paths that the service may use, rules that fit the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepose.device import config
from edgepose.device.camera.release import VideoCodec
from edgepose.device.config import Config
from edgepose.device.deploy import environment, plan, rollout, staging, wheelhouse
from edgepose.device.deploy.board_settings import check_paths, choose_video_codec
from edgepose.device.deploy.checks import run_checks
from edgepose.device.deploy.staging import ReleaseBundle
from edgepose.runtime.errors import EdgePoseError, InputError

from .test_deploy import RELEASE, make_board, make_running_board, make_wanted, wheel

pytestmark = pytest.mark.once

RULES = """\
[[events.zone]]
name = "yard"
polygon = [[0.1, 0.4], [0.9, 0.4], [0.9, 1], [0.1, 1]]
anchor = "feet"
"""
CLIPS = (
    f'[camera]\nsource = "synthetic:1"\n[output]\nsinks = ["-"]\nprivacy = "blur"\n{RULES}[clips]\nfolder = "clips"\n'
)


def parse(text: str) -> Config:
    return config.parse(text, Path("camera.toml"))


def parse_output(line: str) -> Config:
    return parse(f'[output]\nprivacy = "none"\n{line}\n{RULES}')


@pytest.mark.parametrize(
    ("text", "tag", "expected"),
    [
        ("", "aarch64", ""),
        (RULES, "aarch64", ""),
        (CLIPS, "aarch64", "h264"),
        (CLIPS, "x86_64", "h264"),
        (CLIPS, "armv7l", "mpeg4"),
        (CLIPS + "video = false\n", "aarch64", ""),
        ('[output]\nrecord = "{name}.mp4?minutes=10&size=20MB"\n', "aarch64", "h264"),
        ('[output]\nrecord = "out.AVI?minutes=10"\n', "aarch64", ""),
    ],
)
def test_the_configuration_decides_on_pyav(text: str, tag: str, expected: str) -> None:
    assert choose_video_codec(parse(text), tag) == expected


@pytest.mark.parametrize(("changes", "video"), [({}, True), ({"bits": 32, "architecture": "armhf"}, False)])
def test_only_64_bit_boards_with_videos_get_pyav(changes: dict[str, Any], video: bool, tmp_path: Path) -> None:
    board = make_board(**changes)
    own = wheel(tmp_path, "edgepose", "0.1", 'av>=14; extra == "video"', 'aiohttp; extra == "camera"')
    codec = choose_video_codec(parse(CLIPS), board.tag)
    needs = wheelhouse._read_own_requirements(own, rollout.get_wheel_target(board, codec))
    assert ("av>=14" in needs) == video
    assert wheelhouse._read_own_requirements(own, rollout.get_wheel_target(board)) == ["aiohttp"]


def lock_wheels(folder: Path, target: wheelhouse.WheelTarget, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect wheels with a download that is replaced by small wheels, and return the names of all wheels."""
    downloads: list[list[str]] = []

    def download(target: wheelhouse.WheelTarget, wanted: list[str], place: Path) -> dict[Path, str]:
        downloads.append(wanted)
        paths = [wheel(place, name.partition(">")[0], "18.1.0") for name in wanted]
        return {path: wheelhouse.compute_sha256(path) for path in paths}

    monkeypatch.setattr(wheelhouse, "_download_wheels", download)
    own = wheel(folder, "edgepose", "0.1", "tool", 'av>=14; extra == "video"')
    names = [path.name for path in wheelhouse.collect(target, own, folder / "cache", offline=False, note=print)]
    return names if downloads else [*names, "(from the cache)"]


def test_environments_with_and_without_video_stay_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollout to boards of both kinds must not collect the wheels again and again, and --offline works for both."""
    plain = wheelhouse.WheelTarget("aarch64", (3, 11), "bookworm")
    both = [plain, replace(plain, video=True)]
    first = [lock_wheels(tmp_path, target, monkeypatch) for target in both]
    assert [len(names) for names in first] == [2, 3]
    assert any(name.startswith("av-18.1.0") for name in first[1])
    for target, names in zip(both, first, strict=True):
        assert lock_wheels(tmp_path, target, monkeypatch) == [*names, "(from the cache)"]


def test_the_id_of_an_environment_depends_on_its_wheels_alone() -> None:
    """So boards without videos keep their environment."""
    plain = wheelhouse.WheelTarget("aarch64", (3, 11), "bookworm")
    wheels = {Path("tool-1.whl"): "a" * 64}
    ids = [
        environment.compute_identity(chosen, target, "/usr/bin/python3")
        for chosen, target in (
            (wheels, plain),
            (wheels, replace(plain, video=True)),
            ({**wheels, Path("av-18.1.0.whl"): "b" * 64}, replace(plain, video=True)),
        )
    ]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(("video", "expected"), [("h264", True), ("mpeg4", False), ("", False)])
def test_the_plan_names_pyav(video: VideoCodec, expected: bool, tmp_path: Path) -> None:
    steps = plan.make_steps(make_board(), make_wanted(tmp_path, replace(RELEASE, video=video)), 20, 3)
    assert any("with PyAV for H.264" in step.name for step in steps) == expected


def test_a_release_says_how_videos_are_encoded(tmp_path: Path) -> None:
    (tmp_path / "camera.toml").write_text(CLIPS)
    bundle = ReleaseBundle(tmp_path, parse(CLIPS), RELEASE, "")
    release = bundle.create_release("e" * 16, video="h264")
    assert make_running_board(release).release == release, "the probe's answer keeps it"
    assert bundle.create_release("e" * 16, release, video="h264").content_sha256 == release.content_sha256
    assert bundle.create_release("f" * 16, release, video="h264").content_sha256 != release.content_sha256


def test_a_32_bit_board_is_warned_before_the_deployment() -> None:
    board = make_board(bits=32, architecture="armhf")
    checks = run_checks(board, 1e9, replace(RELEASE, video="mpeg4"))
    (check,) = [check for check in checks if check.name == "videos"]
    assert (check.verdict, check.blocks) == ("warning", False)
    assert "MPEG-4" in check.seen
    assert "64-bit system" in check.fix


@pytest.mark.parametrize(
    ("line", "verdicts"),
    [
        ('record = "out.mp4"', []),
        ('record = "~/out.mp4"', []),
        ('record = "/var/lib/edgepose/a/out.mp4?minutes=5"', []),
        ('record = "../out.mp4"', [("output.record", "warning")]),
        ('record = "/mnt/usb/out.mp4"', [("output.record", "warning")]),
        ('record = "/home/pi/out.mp4"', [("output.record", "failed")]),
        ('record = "/tmp/out.mp4"', [("output.record", "failed")]),
        ('sinks = ["jsonl:poses.jsonl?rotate=1MB", "exec:/opt/alarm", "exec:/mnt/alarm?timeout=3"]', []),
        ('sinks = ["jsonl:/srv/poses.jsonl?rotate=1MB"]', [("sink jsonl", "warning")]),
        ('sinks = ["exec:/home/pi/alarm"]', [("sink exec", "failed")]),
        ('[clips]\nfolder = "clips"', []),
        ('[clips]\nfolder = "/var/lib/edgepose-clips"', [("clips.folder", "warning")]),
        ('[clips]\nfolder = "/mnt/usb/{name}"', [("clips.folder", "warning")]),
        ('[clips]\nfolder = "/home/pi/clips"', [("clips.folder", "failed")]),
    ],
)
def test_paths_outside_of_the_sandbox_are_named(line: str, verdicts: list[tuple[str, str]]) -> None:
    checks = list(check_paths(parse_output(line), make_board()))
    assert [(check.name, check.verdict) for check in checks] == verdicts
    assert all(check.blocks == (check.verdict == "failed") for check in checks)
    assert all("/var/lib/edgepose" in check.fix or "/usr/local/lib" in check.fix for check in checks)


def test_paths_that_the_owner_has_allowed_are_accepted() -> None:
    board = make_board(service={"ReadWritePaths": "-/mnt/usb /home/pi/clips"})
    for folder in ("/mnt/usb/clips", "/home/pi/clips"):
        assert not list(check_paths(parse_output(f'[clips]\nfolder = "{folder}"'), board))
    (check,) = check_paths(parse_output('[clips]\nfolder = "/mnt/other"'), board)
    assert "ReadWritePaths=/mnt/other;" in check.fix
    (check,) = check_paths(parse_output('record = "/mnt/other/out.mp4"'), board)
    assert "ReadWritePaths=/mnt/other;" in check.fix


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"feet"', '"noze"', r"camera.toml: line 9: events\.zone\[0\]\.anchor: no keypoint 'noze'; did you mean nose"),
        ("polygon", "polygn", r"camera.toml: line 8: events\.zone\[0\]\.polygn: .*did you mean polygon"),
        ('privacy = "blur"\n', "", r"camera.toml: clips: no privacy mode"),
        ('"clips"', '"{nmae}"', r"camera.toml: clips.folder: unknown placeholder \{nmae\}; did you mean \{name\}"),
        ('["-"]', '["jsonl:x?onli=events"]', r"camera.toml: sink 'jsonl:x': unknown option 'onli'; did you mean only"),
        ('["-"]', '["exec:alarm"]', r"camera.toml: sink 'exec:alarm': expected the path of a program"),
        ('["-"]', '["webhook:https://u:p@h/x"]', r"camera.toml: sink 'webhook:https://h': user names and passwords"),
        ('["-"]', '["webhook:https://h/x#hours=0"]', r"camera.toml: sink 'webhook:https://h': expected hours of 1"),
        (RULES + '[clips]\nfolder = "clips"\n', "", r"OK"),
        ('sinks = ["-"]', 'sinks = ["webhook:https://h/x#secret=/etc/x"]', r"OK"),
        ('source = "synthetic:1"', 'sources = ["a=synthetic:1", "b=synthetic:2"]', r"OK"),
        ('"clips"\n', '"clips"\nrules = ["yrad"]\n', r"clips.rules: there is no rule 'yrad'; did you mean 'yard'"),
    ],
)
def test_events_are_checked_before_anything_is_sent(
    old: str, new: str, message: str, small_model: Path, tmp_path: Path
) -> None:
    path, stage = tmp_path / "camera.toml", tmp_path / "stage"
    assert old in CLIPS
    path.write_text(CLIPS.replace(old, new))
    stage.mkdir()
    if message == "OK":
        staging.prepare_bundle(str(small_model), path, [], stage)
        return
    with pytest.raises((EdgePoseError, ValueError), match=message) as caught:
        staging.prepare_bundle(str(small_model), path, [], stage)
    assert "\n" not in str(caught.value)


def test_the_secret_of_a_webhook_is_passed_and_checked(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "camera.toml"
    path.write_text(CLIPS.replace('["-"]', '["webhook:https://h/x"]'))
    names = ["EDGEPOSE_WEBHOOK_SECRET"]
    for number, value in enumerate(("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "short")):
        (tmp_path / str(number)).mkdir()
        monkeypatch.setenv(names[0], value)
        if value == "short":
            with pytest.raises(InputError, match="EDGEPOSE_WEBHOOK_SECRET: expected a secret of 16 bytes or more"):
                staging.prepare_bundle(str(small_model), path, names, tmp_path / str(number))
        else:
            bundle = staging.prepare_bundle(str(small_model), path, names, tmp_path / str(number))
            assert bundle.secrets == f'EDGEPOSE_WEBHOOK_SECRET="{value}"\n'


def test_a_release_of_an_older_version_is_still_read() -> None:
    old = json.loads(json.dumps(RELEASE.__dict__))
    del old["video"]
    assert make_board(current=RELEASE.id, release=old).release == RELEASE
