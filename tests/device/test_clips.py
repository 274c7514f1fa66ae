"""Clips and snapshots: content, bounded memory and disk use, full disks, interrupted processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.device import config as config_module
from edgepose.device.camera.build_group import build_group
from edgepose.device.clips import folder as folder_module
from edgepose.device.clips import sink as sink_module
from edgepose.device.clips.config import ClipsConfig
from edgepose.device.clips.factory import open_clips
from edgepose.device.clips.folder import ClipFolder
from edgepose.device.clips.ring import FrameRing, store_frame
from edgepose.device.events.config import EventsConfig
from edgepose.runtime.cli.main import main
from edgepose.runtime.errors import InputError, OutputError

from ..conftest import HANG_S, read_times_s
from .clip_helpers import CLIP_NAME, Camera, make_event, make_noise, make_settings
from .sink_helpers import make_message, wait_until

pytestmark = pytest.mark.once

ZONE = """
[camera]
source = "synthetic:2"
[[events.zone]]
name = "everywhere"
polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
[output]
privacy = "none"
"""
STEM = "2026-05-04T073109Z-door-fall"


def test_a_clip_shows_the_seconds_before_and_after_the_event(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    camera.run(3)
    camera.send(make_event())
    camera.run(3)
    (name,) = camera.list_names()
    assert CLIP_NAME.fullmatch(name)
    times_s = read_times_s(tmp_path / name)
    np.testing.assert_allclose(times_s, np.arange(21) / 10, atol=0.0015)
    sidecar = camera.read_sidecar()
    assert (sidecar["clip"], sidecar["snapshots"]) == (name, [name.replace(".mp4", ".jpg")])
    assert (sidecar["frames"], sidecar["complete"], sidecar["privacy"]) == (21, True, "none")
    (event,) = sidecar["events"]
    assert (event["event"], event["clip"], event["snapshot"]) == ("fall", name, name.replace(".mp4", ".jpg"))
    assert cv2.imread(str(tmp_path / event["snapshot"])).shape == (240, 320, 3)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 3, "no hidden file is left"
    assert not any(mode & 0o037 for mode in modes)


def test_a_clip_shows_an_event_that_is_reported_late(tmp_path: Path) -> None:
    camera = Camera(tmp_path, report_delay_s=2.0)
    camera.run(5)
    camera.send(make_event(started_s=camera.time_s - 1.4))
    camera.run(2)
    assert len(read_times_s(tmp_path / camera.list_names()[0])) == 10 + 15 + 1 + 10


def test_the_rate_of_frames_is_limited_and_keeps_their_times(tmp_path: Path) -> None:
    camera = Camera(tmp_path, fps=5)
    camera.run(2, step_s=1 / 30)
    camera.send(make_event(), step_s=1 / 30)
    camera.run(2, step_s=1 / 30)
    times_s = read_times_s(tmp_path / camera.list_names()[0])
    assert 9 <= len(times_s) <= 11
    np.testing.assert_allclose(np.diff(times_s), 0.2, atol=0.04)


@pytest.mark.parametrize("privacy", ["blur", "silhouette"])
def test_the_ring_holds_no_image_that_may_not_be_shown(tmp_path: Path, privacy: Any) -> None:
    camera = Camera(tmp_path, privacy)
    camera.run(1)
    camera.send(make_event())
    camera.close()
    original = make_message(0)
    video = cv2.VideoCapture(str(tmp_path / camera.list_names()[0]))
    images = [frame.decode() for frame in camera.sink._ring]
    images += [video.read()[1], cv2.imread(str(tmp_path / camera.list_names(".jpg")[0]))]
    detail = cv2.Laplacian(original.frame.image, cv2.CV_32F)[200:].std()
    for image in images:
        # Below the people, only the background is in the image.
        assert cv2.Laplacian(image, cv2.CV_32F)[200:].std() < detail
        if privacy == "silhouette":
            assert np.median(image) < 8


def test_clips_need_a_privacy_mode(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="clips: no privacy mode"):
        open_clips(ClipsConfig(folder=str(tmp_path)), EventsConfig(), None, "door", "synthetic")


def test_the_ring_is_bounded_in_seconds_and_bytes() -> None:
    ring = FrameRing(seconds=2.0, max_bytes=500_000)
    image = make_message(0).frame.image
    for tick in range(100):
        ring.append(store_frame(image, tick / 10, None))
    assert len(ring) == 21
    for tick, noise in enumerate(make_noise(50)):
        ring.append(store_frame(noise, 20 + tick / 100, None))
        assert ring.size_bytes <= 500_000
        assert ring.size_bytes == sum(frame.content.nbytes for frame in ring)


def test_frames_that_wait_are_bounded_on_a_slow_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise at 30 FPS and no time to encode: the clip has fewer frames per second, from beginning to end."""
    monkeypatch.setattr(sink_module, "_MAX_WAITING_BYTES", 1_000_000)
    camera = Camera(tmp_path, fps=30)
    noise = make_noise(10)
    camera.send(make_event("started"), image=noise[0], work=False)
    for tick in range(200):
        camera.send(image=noise[tick % 10], step_s=1 / 30, work=False)
        video = camera.sink._clips[-1].video
        assert video is not None
        assert video.waiting_bytes <= 1_000_000
    camera.work()
    camera.close()
    times_s = read_times_s(tmp_path / camera.list_names()[0])
    assert times_s[-1] - times_s[0] > 6
    assert len(times_s) < 60


def test_frames_of_another_size_stay_in_the_same_clip(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    image = make_message(0).frame.image
    camera.send(make_event())
    camera.run(0.5, image=np.ascontiguousarray(image[::2, ::2]))
    camera.run(0.3, image=np.repeat(image, 3, axis=0))
    camera.run(2)
    (name,) = camera.list_names()
    assert len(read_times_s(tmp_path / name)) == 11


def test_a_storm_of_events_makes_one_clip_with_a_bounded_sidecar(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    storm = [make_event(identifier=str(number)) for number in range(20)]
    for _ in range(50):
        camera.send(*storm, step_s=0.1)
    camera.close()
    assert len(camera.list_names()) == 1
    sidecar = camera.read_sidecar()
    assert len(sidecar["events"]) == 500
    assert sidecar["more_events"] == 500
    assert len(camera.list_names(".jpg")) == len(sidecar["snapshots"]) == 5


def test_two_clips_in_a_row_are_both_complete(tmp_path: Path) -> None:
    camera = Camera(tmp_path, max_s=3)
    camera.send(make_event("started"), work=False)
    camera.run(4, work=False)
    camera.send(make_event("started", "zone", "zone-1"), work=False)
    camera.run(4)
    camera.close()
    assert [len(read_times_s(tmp_path / name)) for name in camera.list_names()] == [20, 30]


def test_a_clip_ends_when_the_camera_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(tmp_path)
    camera.send(make_event("started"))
    camera.run(0.5)
    assert not camera.list_names()
    monkeypatch.setattr(sink_module, "_MAX_PAUSE_S", -1.0)
    camera.sink.handle_wake()
    camera.work()
    monkeypatch.undo()
    assert len(read_times_s(tmp_path / camera.list_names()[0])) == 6
    camera.run(0.5)
    camera.close()
    assert len(camera.list_names()) == 1, "the rest of the clip is not written"


def test_only_snapshots(tmp_path: Path) -> None:
    camera = Camera(tmp_path, video=False)
    camera.run(1)
    camera.send(make_event())
    camera.run(2)
    assert (len(camera.list_names()), len(camera.list_names(".jpg"))) == (0, 1)
    assert len(camera.sink._ring) == 0
    assert camera.read_sidecar()["complete"] is True
    assert camera.read_sidecar()["clip"] is None


def test_events_whose_frame_was_dropped_have_their_snapshot(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    (event,), clip, _ = camera.sink.planner.update([make_event()], 1.0, None)
    message = replace(make_message(0), events=(event,), clip=clip, only_events=True)
    camera.sink.write_events(message)
    camera.close()
    assert camera.list_names(".jpg") == [event.snapshot]
    assert camera.list_names(".json") == [f"{clip}.json"]


def test_the_end_of_the_loop_is_in_the_sidecar(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    message = camera.send(make_event("started"))
    ended = camera.sink.planner.finish([make_event("ended")])
    camera.sink.write_events(replace(message, events=ended, only_events=True))
    camera.close()
    events = camera.read_sidecar()["events"]
    assert [event["state"] for event in events] == ["started", "ended"]
    assert events[0]["clip"] == events[1]["clip"] == camera.list_names()[0]


def test_without_pyav_opencv_writes_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    camera = Camera(tmp_path)
    camera.send(make_event())
    camera.run(2)
    assert len(read_times_s(tmp_path / camera.list_names()[0])) == 11


def fill_folder(path: Path, count: int, size: int = 1_000_000) -> list[str]:
    """Write clips of earlier runs, one per minute."""
    stems = [f"2026-05-04T07{number:02d}09Z-door-fall" for number in range(count)]
    for stem in stems:
        (path / f"{stem}.mp4").write_bytes(b"x" * size)
        for suffix in (".json", ".jpg", ".2.jpg"):
            (path / f"{stem}{suffix}").write_bytes(b"x")
    return stems


def test_only_clips_of_this_program_are_removed_and_all_files_of_one_together(tmp_path: Path) -> None:
    stems = fill_folder(tmp_path, 5)
    others = [
        "holiday.mp4",
        f"{STEM}.avi",
        f"x{STEM}.mp4",
        f"{STEM}.mp4.bak",
        "2026-05-04T0731Z-door.mp4",
        f"{STEM}.x.jpg",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"x" * 5_000_000)
    (tmp_path / f"{STEM}.json").symlink_to(tmp_path / "holiday.mp4")
    (tmp_path / f"{STEM}-2.mp4").mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    ClipFolder(tmp_path, make_settings(keep=2)).make_space()
    gone = before - {path.name for path in tmp_path.iterdir()}
    assert gone == {f"{stem}{end}" for stem in stems[:3] for end in (".mp4", ".json", ".jpg", ".2.jpg")}


def test_clips_are_removed_by_size_age_and_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stems = fill_folder(tmp_path, 12)
    folder = ClipFolder(tmp_path, make_settings(limit="10MB"))
    folder.make_space(growing_bytes=4_000_000)
    assert [clip.stem for clip in folder.list_clips()] == stems[7:], "what is being written counts"
    with pytest.raises(OutputError, match=r"larger than clips\.limit"):
        folder.make_space(growing_bytes=11_000_000)
    free = [0]
    monkeypatch.setattr(ClipFolder, "measure_free_bytes", lambda self: free[0] + 10**6 * (5 - len(self.list_clips())))
    free[0] = 498_000_000
    ClipFolder(tmp_path, make_settings(free="500MB")).make_space(keep=[stems[7]])
    assert [clip.stem for clip in folder.list_clips()] == [stems[7], *stems[10:]]
    free[0] = 0
    with pytest.raises(OutputError, match="expected at least 500 MB"):
        ClipFolder(tmp_path, make_settings(free="500MB")).make_space()
    assert folder.list_clips() == []
    fill_folder(tmp_path, 2)
    (tmp_path / "2999-01-01T000000Z-door-fall.jpg").write_bytes(b"x")
    ClipFolder(tmp_path, make_settings(days=0.5)).make_space()
    assert [clip.stem for clip in folder.list_clips()] == ["2999-01-01T000000Z-door-fall"]


def test_the_limits_hold_while_the_camera_runs(tmp_path: Path) -> None:
    stems = fill_folder(tmp_path, 3)
    camera = Camera(tmp_path, keep=2)
    assert [clip.stem for clip in ClipFolder(tmp_path, make_settings()).list_clips()] == stems[1:]
    for _ in range(3):
        camera.send(make_event())
        camera.run(3)
    camera.close()
    assert len(camera.list_names()) == 2
    assert not any(name.startswith("2026-05-04") for name in camera.list_names())


def test_a_file_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    camera = Camera(tmp_path, after_s=1.5)
    message = camera.send(make_event())
    for suffix in (".mp4", ".2.jpg"):
        (tmp_path / f"{message.clip}{suffix}").write_bytes(b"mine")
    camera.run(0.8)
    camera.send(make_event(), step_s=0.3)
    camera.run(3)
    assert (
        (tmp_path / f"{message.clip}.mp4").read_bytes() == (tmp_path / f"{message.clip}.2.jpg").read_bytes() == b"mine"
    )
    assert len(read_times_s(tmp_path / f"{message.clip}-2.mp4")) == 25
    assert camera.read_sidecar()["snapshots"] == [f"{message.clip}.jpg", f"{message.clip}-2.2.jpg"]


def test_a_sidecar_of_somebody_else_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(tmp_path)
    monkeypatch.setattr(camera.sink.planner, "_choose_stem", lambda *_: STEM)
    (tmp_path / f"{STEM}.json").write_text("mine")
    camera.send(make_event())
    camera.run(3)
    assert (tmp_path / f"{STEM}.json").read_text() == "mine"
    assert json.loads((tmp_path / f"{STEM}-2.json").read_text())["complete"]


def test_without_hard_links_nothing_is_replaced_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as on FAT

    monkeypatch.setattr(folder_module.os, "link", refuse)
    camera = Camera(tmp_path)
    message = camera.send(make_event())
    (tmp_path / f"{message.clip}.mp4").write_bytes(b"mine")
    camera.run(3)
    assert (tmp_path / f"{message.clip}.mp4").read_bytes() == b"mine"
    assert len(read_times_s(tmp_path / f"{message.clip}-2.mp4")) == 11


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_ends_the_clip_and_the_next_one_works(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The disk fills during a clip: what plays is kept, one message, and recording goes on when there is space."""
    folder = small_disk / "clips"
    camera = Camera(folder, fps=30, max_s=60)
    noise = make_noise(30)
    camera.send(make_event("started"), image=noise[0])
    (small_disk / "other").write_bytes(b"x" * 2_500_000)
    for number in range(120):
        camera.send(image=noise[number % 30], step_s=1 / 30)
    assert sum("No space left on device" in record.getMessage() for record in caplog.records) == 1
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    for name in camera.list_names():
        assert read_times_s(folder / name)
    (small_disk / "other").unlink()
    camera.send(make_event(identifier="fall-2"), step_s=60)
    camera.run(2)
    camera.work()
    assert camera.sink.problem == ""
    newest = sorted(folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime)[-1]
    assert len(read_times_s(newest)) == 11


def test_too_little_free_space_and_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "_CHECK_INTERVAL_S", 1e-6)
    monkeypatch.setattr(ClipFolder, "measure_free_bytes", lambda _: 499_000_000)
    camera = Camera(tmp_path, free="500MB")
    assert "499 MB free on the disk, expected at least 500 MB (clips.free)" in camera.sink.problem
    camera.send(make_event(), work=False)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(ClipFolder, "measure_free_bytes", lambda _: 501_000_000)
    camera.sink.handle_wake()
    assert camera.sink.problem == "", "also if no event comes"


def test_a_folder_that_disappears_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "_CHECK_INTERVAL_S", 1e-6)
    path = tmp_path / "clips"
    camera = Camera(path, max_s=3)
    camera.send(make_event("started"))
    camera.run(0.5)
    shutil.rmtree(path)
    camera.run(5, work=False)
    camera.sink.handle_wake()
    camera.sink.handle_wake()
    camera.send(make_event(), work=False)
    assert "there is no such folder any more" in camera.sink.problem
    assert not path.exists(), "it can be a disk that was removed: nothing is written to its mount point"
    path.mkdir()
    camera.sink.handle_wake()
    camera.send(make_event(), step_s=5)
    camera.run(2)
    assert camera.sink.problem == ""
    assert len(camera.list_names()) == 1


def test_a_read_only_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(small_disk / "clips")
    camera.send()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    camera.send(make_event())
    camera.run(0.5)
    assert "no permission to write here" in camera.sink.problem
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    camera.send(make_event(), step_s=5)
    camera.run(2)
    assert camera.sink.problem == ""
    assert len(camera.list_names()) == 1


def test_what_an_interrupted_process_leaves_is_finished(tmp_path: Path) -> None:
    """A video that plays gets its name, all other parts are removed; links and locked files are not touched."""
    pytest.importorskip("av")
    camera = Camera(tmp_path)
    camera.send(make_event("started"))
    camera.run(6)
    (part,) = tmp_path.glob(".*.part.mp4")
    copy = tmp_path / f".{STEM}.part.mp4"
    shutil.copy(part, copy)
    (tmp_path / f".{STEM}-2.part.mp4").write_bytes(b"\0" * 100)
    (tmp_path / f".{STEM}.part.json").write_text("{")
    os.utime(tmp_path / f".{STEM}.part.json", (0, 0))
    (tmp_path / f".{STEM}.part.jpg").symlink_to("/etc/passwd")
    Camera(tmp_path).close()
    assert part.exists(), "another process writes it"
    assert len(read_times_s(tmp_path / f"{STEM}.mp4")) >= 20
    assert sorted(path.name for path in tmp_path.glob(".*")) == sorted([part.name, f".{STEM}.part.jpg"])
    camera.close()
    assert len(camera.list_names()) == 2


def start_camera(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    (folder / "camera.toml").write_text(ZONE)
    return subprocess.Popen(
        [sys.executable, "-m", "edgepose.runtime.cli", "camera", "--config", str(folder / "camera.toml"), "--clips",
         str(folder / "clips"), "--threads", "1", "--sink", "-", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_event(child: subprocess.Popen[str]) -> dict[str, Any]:
    assert child.stdout is not None
    for line in child.stdout:
        if '"event":' in line:
            found: dict[str, Any] = json.loads(line)
            return found
    raise AssertionError("it ended")


def read_until(child: subprocess.Popen[str], frames: int) -> None:
    assert child.stdout is not None
    for _ in range(frames):
        assert child.stdout.readline(), "it ended"


def test_sigterm_during_a_clip_finishes_it(tmp_path: Path) -> None:
    with start_camera(tmp_path) as child:
        event = wait_for_event(child)
        read_until(child, 30)
        child.terminate()
        _, log = child.communicate(timeout=HANG_S)
    assert child.returncode == 0
    folder = tmp_path / "clips"
    assert event["clip"] in log
    assert read_times_s(folder / event["clip"])
    assert (folder / event["snapshot"]).exists()
    sidecar = json.loads((folder / event["clip"]).with_suffix(".json").read_text())
    assert sidecar["complete"] is True
    assert not list(folder.glob(".*"))


def test_sigkill_during_a_clip_leaves_one_that_the_next_start_finishes(tmp_path: Path) -> None:
    pytest.importorskip("av")
    folder = tmp_path / "clips"
    with start_camera(tmp_path) as child:
        try:
            event = wait_for_event(child)
            part = folder / f".{event['clip'].removesuffix('.mp4')}.part.mp4"
            sizes: set[int] = set()
            while len(sizes) < 4:  # empty, header, fragments
                read_until(child, 1)
                if part.exists():
                    sizes.add(part.stat().st_size)
        finally:
            child.send_signal(signal.SIGKILL)
    assert not (folder / event["clip"]).exists()
    with start_camera(tmp_path) as child:
        read_until(child, 1)
        wait_until((folder / event["clip"]).exists)
        wait_until(lambda: '"complete": true' in (folder / event["clip"]).with_suffix(".json").read_text())
        child.terminate()
        child.communicate(timeout=HANG_S)
    times_s = read_times_s(folder / event["clip"])
    assert len(times_s) > 3
    assert (folder / event["snapshot"]).exists()
    sidecar = json.loads((folder / event["clip"]).with_suffix(".json").read_text())
    assert (sidecar["clip"], sidecar["complete"], sidecar["frames"]) == (event["clip"], True, len(times_s))
    assert (sidecar["width"], sidecar["height"], sidecar["end"]) == (640, 480, None)
    assert sidecar["duration_s"] == pytest.approx(times_s[-1] - times_s[0], abs=0.01)
    assert sidecar["events"][0]["id"] == event["id"]


@pytest.mark.parametrize("content", ["", "[]", '{"complete": false}', "[" * 10**5, None])
def test_a_sidecar_that_is_none_stays_as_it_is(
    content: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also a link; the start goes on."""
    path = tmp_path / f"{STEM}.json"
    if content is None:
        (tmp_path / "other").write_text('{"complete": false, "events": []}')
        path.symlink_to(tmp_path / "other")
    else:
        path.write_text(content)
    before = path.read_text()
    (tmp_path / f".{STEM}.part.mp4").write_bytes(b"\0" * 100)
    camera = Camera(tmp_path)
    assert camera.sink.problem == ""
    camera.close()
    assert (path.read_text(), path.is_symlink()) == (before, content is None)
    assert "cannot be completed" in caplog.text
    assert not list(tmp_path.glob(".*"))


def test_the_sidecar_of_a_video_that_does_not_play_is_completed(tmp_path: Path) -> None:
    """A clip that is complete already is not changed."""
    for stem, complete in ((STEM, "false"), (f"{STEM}-2", "true")):
        (tmp_path / f"{stem}.json").write_text(f'{{"clip": null, "complete": {complete}, "events": [{{"id": "a"}}]}}')
        (tmp_path / f".{stem}.part.mp4").write_bytes(b"\0" * 100)
    before = (tmp_path / f"{STEM}-2.json").read_text()
    Camera(tmp_path).close()
    assert json.loads((tmp_path / f"{STEM}.json").read_text()) == {
        "clip": None, "complete": True, "events": [{"id": "a"}]
    }  # fmt: skip
    assert (tmp_path / f"{STEM}-2.json").read_text() == before


def test_several_cameras_share_a_folder(tmp_path: Path) -> None:
    text = ZONE.replace('source = "synthetic:2"', 'sources = ["door=synthetic:1", "yard=synthetic:2"]')
    text += f'name = "Hall"\n[clips]\nfolder = "{tmp_path}/clips-{{hostname}}"\n'
    settings = config_module.parse(text, Path("c.toml"))
    settings.check()
    group = build_group(settings)
    group.run(6)
    (folder,) = tmp_path.iterdir()
    names = sorted(path.name for path in folder.glob("*.mp4"))
    assert {name[19:] for name in names} >= {"hall-door-everywhere.mp4", "hall-yard-everywhere.mp4"}
    cameras = {json.loads(path.read_text())["camera"] for path in folder.glob("*.json")}
    assert cameras == {"door", "yard"}


def test_a_folder_of_each_camera(tmp_path: Path) -> None:
    text = ZONE.replace('source = "synthetic:2"', 'sources = ["door=synthetic:1", "yard=synthetic:2"]')
    settings = config_module.parse(f'{text}\n[clips]\nfolder = "{tmp_path}/{{camera}}"\n', Path("c.toml"))
    sinks = [sink for member in build_group(settings).members for sink in member.stats.sinks]
    assert [sink._folder.path.name for sink in sinks] == ["door", "yard"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("before_s = -1", "clips.before_s: expected 0 to 60, got -1"),
        ("after_s = 601", "clips.after_s: expected 0 to 600, got 601"),
        ("max_s = 9", "clips.max_s: expected at least before_s + after_s (10), got 9"),
        ("fps = 0", "clips.fps: expected more than 0 and at most 60, got 0"),
        ("keep = 0", "clips.keep: expected 1 or more, got 0"),
        ("days = 0", "clips.days: expected more than 0, got 0"),
        ('limit = "2TB"', "clips.limit: expected a size such as 500MB or 2GB, got '2TB'"),
        ('limit = "5MB"', "clips.limit: expected 10MB or more, got '5MB'"),
        ('free = ""', "clips.free: expected a size such as 500MB or 2GB, got ''"),
        ('rules = ["everywere"]', "clips.rules: there is no rule 'everywere'; did you mean 'everywhere'?"),
        ('rules = ["x"]', "clips.rules: there is no rule 'x'; the rules are everywhere"),
        ("video = false\nsnapshot = false", "clips.video and snapshot: expected at least one of them to be true"),
        ("befor_s = 3", "clips.befor_s: there is no such key; did you mean before_s?"),
    ],
)
def test_wrong_settings_are_one_line(
    tmp_path: Path, lines: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "camera.toml"
    path.write_text(f'{ZONE}\n[clips]\nfolder = "clips"\n{lines}\n')
    assert main(["camera", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_clips_without_rules_and_folders_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["camera", "--source", "synthetic", "--clips", str(tmp_path), "--privacy", "none"]) == 2
    assert "clips.folder: clips need at least one rule" in capsys.readouterr().err
    (tmp_path / "camera.toml").write_text(ZONE)
    (tmp_path / "file").write_text("")
    for folder, words in (
        ("no/clips", f"there is no folder {tmp_path}/no"), ("file", "expected a folder, this is a file"),
        ("{nam}", "clips.folder: unknown placeholder {nam}; did you mean {name}?"),
    ):  # fmt: skip
        assert main(["camera", "--config", str(tmp_path / "camera.toml"), "--clips", f"{tmp_path}/{folder}"]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_the_example_of_the_configuration_has_the_default_values() -> None:
    assert config_module.parse(config_module.EXAMPLE, Path("c.toml")).clips == ClipsConfig()
