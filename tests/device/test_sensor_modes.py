"""Choice of the sensor mode, with the modes of the cameras that Raspberry Pi sells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.device.sources.sensor_modes import SensorMode, choose_view, parse_listing, read_modes
from edgepose.runtime.errors import InputError

from .recorded_sensor_modes import LISTING, SENSOR_MODES

pytestmark = pytest.mark.once

VGA = (640, 480)


@pytest.mark.parametrize(
    ("sensor", "mode", "frame"),
    [
        ("imx219", (1640, 1232), (640, 480)), ("imx477", (2028, 1520), (640, 480)),
        ("imx708", (2304, 1296), (640, 360)), ("imx708_wide", (2304, 1296), (640, 360)),
        ("imx296", (1456, 1088), (640, 480)), ("ov5647", (1296, 972), (640, 480)),
    ],
)  # fmt: skip
def test_the_default_shows_the_full_field_of_view(sensor: str, mode: tuple[int, int], frame: tuple[int, int]) -> None:
    view = choose_view(read_modes(SENSOR_MODES[sensor]), VGA)
    assert (view.mode.size, view.frame_size) == (mode, frame)
    assert (view.width_percent, view.height_percent) == (100, 100)
    assert view.mode.fps >= 30
    assert "full field of view" in view.describe()


@pytest.mark.parametrize(
    ("sensor", "fps", "largest", "mode"),
    [
        ("imx219", 40.0, VGA, (1640, 1232)),
        # No mode with the full field of view is fast enough: the fastest of them, not a narrow one.
        ("imx219", 90.0, VGA, (1640, 1232)),
        ("imx477", 120.0, VGA, (2028, 1520)),
        ("imx708", 100.0, VGA, (2304, 1296)),
        # Frames larger than the binned mode: the full resolution, if it is fast enough.
        ("imx219", 15.0, (1920, 1440), (3280, 2464)),
        ("imx219", 30.0, (1920, 1440), (1640, 1232)),
        ("imx708", 10.0, (3840, 2160), (4608, 2592)),
        # 98.8 % of the width is the full field of view if nothing wider is fast enough.
        ("ov5647", 43.0, VGA, (1296, 972)),
        ("ov5647", 55.0, VGA, (640, 480)),
        # 29.97 FPS are 30 FPS; 14.35 FPS are not 15 FPS.
        ("imx708", 14.4, (3840, 2160), (4608, 2592)),
        ("imx708", 15.0, (3840, 2160), (2304, 1296)),
    ],
)
def test_the_frame_rate_and_the_frame_size_decide(
    sensor: str, fps: float, largest: tuple[int, int], mode: tuple[int, int]
) -> None:
    assert choose_view(read_modes(SENSOR_MODES[sensor]), largest, fps).mode.size == mode


def test_more_bits_are_chosen_if_they_are_fast_enough() -> None:
    modes = [SensorMode(1640, 1232, 10, 41.85, 3280, 2464), SensorMode(1640, 1232, 8, 83.7, 3280, 2464)]
    assert choose_view(modes, VGA, 30).mode.bit_depth == 10
    assert choose_view(modes, VGA, 60).mode.bit_depth == 8


def test_the_user_chooses_a_mode() -> None:
    modes = read_modes(SENSOR_MODES["imx219"])
    view = choose_view(modes, VGA, None, (640, 480))
    assert view.mode.size == (640, 480)
    assert view.describe() == (
        "sensor mode 640x480 10-bit, field of view 39 % of the width and 39 % of the height, frames 640x480, "
        "up to 103.3 FPS"
    )
    wide = choose_view(modes, VGA, None, (1920, 1080))
    assert wide.frame_size == (640, 360), "frames show all that the mode sees"
    with pytest.raises(InputError) as caught:
        choose_view(modes, VGA, None, (800, 600))
    assert str(caught.value) == (
        "camera.sensor_size: expected one of [640, 480], [1640, 1232], [1920, 1080], [3280, 2464], got [800, 600]"
    )


def test_a_tall_sensor_is_limited_by_the_height() -> None:
    assert choose_view([SensorMode(1080, 1920, 10, 60, 1080, 1920)], VGA).frame_size == (270, 480)


def test_modes_of_other_cameras_are_left_out() -> None:
    assert read_modes([{"format": "MJPEG"}, {"format": "SRGGB10", "size": None, "crop_limits": (0, 0, 0, 0)}]) == []


def test_the_listing_of_rpicam_has_the_same_modes() -> None:
    cameras = parse_listing(LISTING)
    assert list(cameras) == ["0: imx219", "1: imx708_wide"]
    assert cameras["0: imx219"] == read_modes(SENSOR_MODES["imx219"])
    assert cameras["1: imx708_wide"] == read_modes(SENSOR_MODES["imx708_wide"])
    assert parse_listing("Available cameras\n0 : imx219 [3280x2464 10-bit RGGB] (/base)\nERROR: busy\n") == {
        "0: imx219": []
    }
    assert parse_listing("No cameras available!\n") == {}


@given(st.text(max_size=200) | st.just(LISTING).map(lambda text: text[::-1]))
def test_any_listing_can_be_read(text: str) -> None:
    for modes in parse_listing(f"{LISTING}{text}").values():
        if modes:
            assert choose_view(modes, VGA).mode in modes


@pytest.mark.parametrize("text", ["1" * 100_000, "1x" * 50_000, "'SRGGB" + "1" * 100_000])
def test_long_numbers_of_a_hostile_board_are_read_in_linear_time(text: str) -> None:
    assert parse_listing(f"0 : imx219 [] (/base)\n{text}") == {"0: imx219": []}
