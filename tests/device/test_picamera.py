"""The Picamera2 source with a fake Picamera2: formats, line padding, controls, faults.

`make test-pi` tests the real Picamera2 with libcamera's virtual camera. These tests cover what it does not support.
"""

from __future__ import annotations

import logging
import sys
import time
import types
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.device.sources.picamera import PiCamera
from edgepose.runtime.errors import InputError

from .recorded_sensor_modes import SENSOR_MODES

pytestmark = pytest.mark.once

WIDTH, HEIGHT = 64, 48


def make_expected_image() -> np.ndarray:
    """Return a BGR image with four quarters: blue, green, red, white."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2, : WIDTH // 2] = (255, 0, 0)
    image[: HEIGHT // 2, WIDTH // 2 :] = (0, 255, 0)
    image[HEIGHT // 2 :, : WIDTH // 2] = (0, 0, 255)
    image[HEIGHT // 2 :, WIDTH // 2 :] = 255
    return image


def pad_lines(lines: np.ndarray, stride: int) -> np.ndarray:
    """Pad the lines to `stride` bytes, as image signal processors do."""
    flat = lines.reshape(len(lines), -1)
    return np.pad(flat, ((0, 0), (0, stride - flat.shape[1])), constant_values=99)


def encode(kind: str, stride: int) -> np.ndarray:
    image = make_expected_image()
    if kind in ("RGB888", "BGR888"):
        return pad_lines(image if kind == "RGB888" else image[..., ::-1], stride)
    if kind in ("XRGB8888", "XBGR8888"):
        colors = image if kind == "XRGB8888" else image[..., ::-1]
        return pad_lines(np.dstack((colors, np.full((HEIGHT, WIDTH), 255, np.uint8))), stride)
    planar = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    luma, u, v = planar[:HEIGHT], *planar[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    if kind in ("NV12", "NV21"):
        pair = (u, v) if kind == "NV12" else (v, u)
        return pad_lines(np.vstack((luma, np.dstack(pair).reshape(HEIGHT // 2, WIDTH))), stride)
    if kind == "YUV420":
        return planar
    half = np.repeat(np.dstack((u, v)).reshape(HEIGHT // 2, WIDTH), 2, axis=0)
    return np.dstack((luma, half)).reshape(HEIGHT, WIDTH * 2)


class FakePicamera2:
    """Fake Picamera2 with the methods that the source uses."""

    kind, stride = "RGB888", WIDTH * 3
    lost = False
    sensor_modes: Any = ()

    def __init__(self, number: int) -> None:
        if number == 7:
            raise IndexError("no camera 7")
        self.calls: list[str] = []
        self.options: dict[str, Any] = {}
        FakePicamera2.last = self  # type: ignore[attr-defined]

    def create_video_configuration(self, **options: Any) -> dict[str, Any]:
        self.options = options
        return options

    def configure(self, options: dict[str, Any]) -> None:
        self.calls.append("configure")

    def camera_configuration(self) -> dict[str, Any]:
        return {"main": {"format": self.kind, "size": (WIDTH, HEIGHT), "stride": self.stride}}

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")

    def capture_request(self) -> FakePicamera2:
        if self.lost:
            raise RuntimeError("timed out")
        return self

    def get_metadata(self) -> dict[str, int]:
        return {"SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 20_000_000}

    def make_array(self, name: str) -> np.ndarray:
        assert name == "main"
        return encode(self.kind, self.stride)

    def release(self) -> None:
        self.calls.append("release")


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> type[FakePicamera2]:
    module = types.ModuleType("picamera2")
    kind = type("Camera", (FakePicamera2,), {})
    module.Picamera2 = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return kind


@pytest.mark.parametrize(
    ("kind", "stride"),
    [
        ("RGB888", WIDTH * 3), ("RGB888", WIDTH * 3 + 32), ("BGR888", WIDTH * 3 + 64), ("XRGB8888", WIDTH * 4),
        ("XBGR8888", WIDTH * 4 + 16), ("NV12", WIDTH), ("NV12", WIDTH + 32), ("NV21", WIDTH + 32), ("YUV420", WIDTH),
        ("YUYV", WIDTH * 2),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_image(kind: str, stride: int, camera: Any) -> None:
    camera.kind, camera.stride = kind, stride
    source = PiCamera(WIDTH, HEIGHT, fps=25, rotate=False, controls={"AnalogueGain": 2.0})
    frame = next(source.frames())
    image = frame.image[..., ::-1] if frame.channel_order == "rgb" else frame.image
    assert image.shape == (HEIGHT, WIDTH, 3)
    difference = np.abs(image.astype(int) - make_expected_image())
    assert np.median(difference) <= 4
    assert difference[4:20, 4:28].max() <= 8, "inside a quarter"
    assert 10e6 < time.monotonic_ns() - frame.timestamp_ns < 1e9, "exposed 20 ms ago"
    assert camera.last.options["controls"] == {"AnalogueGain": 2.0, "FrameDurationLimits": (40000, 40000)}
    source.close()
    assert camera.last.calls == ["configure", "start", "release", "stop", "close"]


def test_a_lost_camera_is_named(camera: Any) -> None:
    source = PiCamera(WIDTH, HEIGHT)
    camera.lost = True
    with pytest.raises(InputError, match="the camera is lost: timed out"):
        next(source.frames())
    source.close()
    source.close()
    assert camera.last.calls.count("close") == 1


def test_a_camera_that_cannot_be_opened_is_one_line(camera: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="camera 7 cannot be opened: no camera 7"):
        PiCamera(WIDTH, HEIGHT, number=7)
    camera.kind = "SRGGB10"
    with pytest.raises(InputError, match="the format SRGGB10 is not supported"):
        PiCamera(WIDTH, HEIGHT)
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(InputError, match="sudo apt install python3-picamera2"):
        PiCamera(WIDTH, HEIGHT)


@pytest.mark.parametrize(("sensor", "mode", "depth", "frame"), [
    ("imx219", (1640, 1232), 10, (640, 480)), ("imx477", (2028, 1520), 12, (640, 480)),
    ("imx708", (2304, 1296), 10, (640, 360)),
])  # fmt: skip
def test_picamera2_is_asked_for_the_full_field_of_view(
    camera: Any, sensor: str, mode: tuple[int, int], depth: int, frame: tuple[int, int]
) -> None:
    camera.sensor_modes = SENSOR_MODES[sensor]
    source = PiCamera(640, 480, fps=30)
    assert camera.last.options["sensor"] == {"output_size": mode, "bit_depth": depth}
    assert camera.last.options["main"]["size"] == frame
    assert source.description.startswith(f"picamera2:0: sensor mode {mode[0]}x{mode[1]} {depth}-bit, full field")


def test_the_mode_is_logged_once(camera: Any, caplog: pytest.LogCaptureFixture) -> None:
    camera.sensor_modes = SENSOR_MODES["imx219"]
    with caplog.at_level(logging.INFO, "edgepose"):
        for _ in range(2):
            PiCamera(320, 240, fps=90, number=3).close()
    assert [record.getMessage() for record in caplog.records] == [
        "picamera2:3: sensor mode 1640x1232 10-bit, full field of view, frames 320x240, up to 41.9 FPS",
        "picamera2:3: 90 FPS were requested, this sensor mode reaches 41.9; a mode with a smaller field of view can be "
        "faster, see camera.sensor_size",
    ]


def test_a_sensor_size_that_the_camera_lacks_is_an_error(camera: Any) -> None:
    with pytest.raises(InputError, match="picamera2:0 has no sensor modes; remove this setting"):
        PiCamera(640, 480, sensor_size=(1640, 1232))
    camera.sensor_modes = SENSOR_MODES["imx296"]
    with pytest.raises(InputError, match=r"expected one of \[1456, 1088\], got \[640, 480\]"):
        PiCamera(640, 480, sensor_size=(640, 480))
    assert camera.last.calls == ["stop", "close"], "the camera is released"


def test_a_camera_without_sensor_modes_still_works(camera: Any) -> None:
    def fail(self: Any) -> Any:
        raise AttributeError("NoneType has no attribute at")

    for modes in (property(fail), [{"format": "MJPEG"}]):
        camera.sensor_modes = modes
        source = PiCamera(640, 480)
        assert "sensor" not in camera.last.options
        assert camera.last.options["main"]["size"] == (640, 480)
        assert source.description == ""
