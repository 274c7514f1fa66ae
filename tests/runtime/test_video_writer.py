"""Written videos: every frame at its time, readable after SIGKILL, playable in a browser, errors named."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.runtime.errors import OutputError
from edgepose.runtime.io import video_writer
from edgepose.runtime.io.video_writer import open_video_writer
from edgepose.runtime.synthetic import Scene

from ..conftest import HANG_S, read_times_s

pytestmark = pytest.mark.once

BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
IRREGULAR_S = [7.0, 7.04, 7.5, 7.51, 9.0, 9.3, 12.0]


def write_scene(path: Path, times_s: list[float], width: int = 320, height: int = 240) -> str:
    scene = Scene(2, width, height)
    writer = open_video_writer(path, width, height, 10)
    try:
        for index, time_s in enumerate(times_s):
            writer.write(scene.render_frame(index).image, time_s)
    finally:
        writer.close()
    return writer.description


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_every_frame_keeps_its_time(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("av")
    path = tmp_path / f"a:b %d{suffix}"
    assert write_scene(path, IRREGULAR_S) == "H.264 (libx264)"
    np.testing.assert_allclose(read_times_s(path), np.array(IRREGULAR_S) - 7, atol=0.0015)


def test_times_that_do_not_increase_and_long_pauses_are_limited(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    write_scene(path, [0.0, 0.0, 5.0, 4.0, 1e9, 1e9 + 1])
    times = read_times_s(path)
    assert len(times) == 6
    assert times == sorted(set(times))
    np.testing.assert_allclose(times[-2:], [3604, 3605], atol=2)


@pytest.mark.parametrize(("width", "height"), [(321, 241), (2, 2), (16, 4001)])
def test_colors_and_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    image = np.full((height, width, 3), (40, 80, 200), np.uint8)
    writer = open_video_writer(path, width, height, 10)
    for index in range(3):
        writer.write(image, index / 10)
    writer.close()
    ok, found = cv2.VideoCapture(str(path)).read()
    assert ok
    assert found.shape[:2] == (height + height % 2, width + width % 2)
    assert np.abs(found[:height, :width].astype(int) - image).max() < 8


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "full.mp4"
    path.symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"full\.mp4: No space left on device") as error:
        write_scene(path, [index / 10 for index in range(100)], 640, 480)
    assert "\n" not in str(error.value)
    with pytest.raises(OutputError, match="No such file or directory"):
        write_scene(tmp_path / "no" / "a.mp4", [0.0])


def test_without_pyav_opencv_writes_the_video_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "a.mp4"
    writer = open_video_writer(path, 320, 240, 10)
    assert writer.description == "MPEG-4 (OpenCV)"
    assert re.search(r"pip install .*\[video\]'?; MPEG-4 does not play in browsers", writer.drawback.replace("`", ""))
    for time_s in (0.0, 0.5, 0.51, 1.0):
        writer.write(Scene(1, 320, 240).render_frame(0).image, time_s)
    writer.close()
    assert len(read_times_s(path)) == 11, "frames are repeated at 10 FPS"


def test_an_old_pyav_of_debian_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 10.0 has no `Packet.duration` that can be set, and python3-picamera2 of bookworm installs it."""
    monkeypatch.setattr("av.__version__", "10.0.0")
    writer = open_video_writer(tmp_path / "a.mp4", 64, 48, 10)
    writer.close()
    assert writer.description == "MPEG-4 (OpenCV)"
    assert "PyAV 10.0.0 is too old; install 14 or later with `" in writer.drawback


def test_an_encoder_without_hardware_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheels of PyAV for 32-bit Arm have only the hardware encoder, which not every board has."""
    pytest.importorskip("av")
    monkeypatch.setattr(video_writer, "_ENCODERS", ("h264_v4l2m2m",))
    assert write_scene(tmp_path / "a.mp4", [0.0, 0.1]) == "MPEG-4 (OpenCV)"
    assert len(read_times_s(tmp_path / "a.mp4")) == 2


_WRITE_FOREVER = """
import itertools, sys, time
from pathlib import Path
from edgepose.runtime.io.video_writer import open_video_writer
from edgepose.runtime.synthetic import Scene
images = [Scene(2, 320, 240).render_frame(index).image for index in range(10)]
writer = open_video_writer(Path(sys.argv[1]), 320, 240, 10)
for index in itertools.count():
    writer.write(images[index % 10], index / 10)
    print(index, flush=True)
"""


@pytest.fixture
def killed_video(tmp_path: Path) -> Path:
    """A video of a process that was killed after 10 seconds of video."""
    pytest.importorskip("av")
    path = tmp_path / "killed.mp4"
    with subprocess.Popen([sys.executable, "-c", _WRITE_FOREVER, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            while int(child.stdout.readline()) < 100:
                pass
        finally:
            child.send_signal(signal.SIGKILL)
    return path


def test_a_killed_process_leaves_a_playable_video(killed_video: Path) -> None:
    times = read_times_s(killed_video)
    assert len(times) >= 75, "at most the last two seconds are missing"
    np.testing.assert_allclose(times[:70], np.arange(70) / 10, atol=0.0015)


@pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium is not installed (Debian: chromium chromium-driver)")
def test_the_videos_play_in_a_browser(tmp_path: Path, killed_video: Path) -> None:
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    write_scene(tmp_path / "whole.mp4", [index / 10 for index in range(60)])
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--autoplay-policy=no-user-gesture-required"):
        options.add_argument(argument)
    browser: Any = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        browser.get("about:blank")
        codec = "video/mp4; codecs=avc1.42E01E"
        if not browser.execute_script(f"return document.createElement('video').canPlayType('{codec}')"):
            pytest.skip("this Chromium has no H.264")
        for path in (tmp_path / "whole.mp4", killed_video):
            page = tmp_path / f"{path.stem}.html"
            page.write_text(
                f"<video id=v muted autoplay loop src={path.name}></video>"
                "<script>const v = document.getElementById('v');"
                "v.addEventListener('playing', () => { window.played = true; });</script>"
            )
            browser.get(page.as_uri())
            script = (
                "const v = document.getElementById('v'); return v.error ? 'error ' + v.error.message :"
                " window.played && v.currentTime > 1 ? [v.videoWidth, v.videoHeight] : null"
            )
            end = time.monotonic() + HANG_S
            while (found := browser.execute_script(script)) is None:
                assert time.monotonic() < end, "it does not play"
                time.sleep(0.05)
            assert found == [320, 240], f"{path.name}: {found}"
    finally:
        browser.quit()
