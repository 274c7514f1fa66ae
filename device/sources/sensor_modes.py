"""Sensor modes of Raspberry Pi cameras: which mode shows the full field of view at the wanted frame rate.

An image sensor has a few modes. A mode reads the whole sensor or a part of it (its crop), with pixels combined or not.
If no mode is requested, Picamera2 chooses one by the size of the frames. For 640x480 on a Camera Module 2 (IMX219) this
is a mode that sees only 39 % of the width (https://github.com/raspberrypi/picamera2/issues/558).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime.errors import InputError

DEFAULT_FPS = 30.0
"""Frame rate of Picamera2's video configuration if none is requested."""
_FULL_VIEW = 0.97
"""Share of the largest crop, in width and in height, from which a mode counts as full field of view."""
_EXACT_VIEW = 0.999
_ASPECT_TOLERANCE = 0.03
"""Sensors that are called 4:3 have ratios from 1.331 to 1.338."""
_FPS_TOLERANCE = 0.99
_MAX_LINE_LENGTH = 1000
# The numbers have a maximum length: a board could send very long ones, which take minutes to search.
_CAMERA_LINE = re.compile(r"\s*(\d{1,3}) : (\S+) \[")
_FORMAT = re.compile(r"'S(?:RGGB|GRBG|GBRG|BGGR)(\d{1,3})[^']*' :|'R(\d{1,3})[^']*' :")
_MODE = re.compile(
    r"(?<!\d)(\d{1,6})x(\d{1,6}) \[(\d{1,6}(?:\.\d{1,6})?) fps - "
    r"\(\d{1,6}, \d{1,6}\)/(\d{1,6})x(\d{1,6}) crop\]"
)
_MAX_LISTED = 100


@dataclass(frozen=True)
class SensorMode:
    """A mode of an image sensor."""

    width: int
    """Size of the images that the sensor delivers, in pixels."""
    height: int
    bit_depth: int
    fps: float
    """Highest frame rate."""
    crop_width: int
    """Size of the part of the sensor that is read, in pixels of the full resolution."""
    crop_height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the images in pixels."""
        return self.width, self.height


@dataclass(frozen=True)
class CameraView:
    """What a camera delivers in a mode: frames of this size, with a part of the sensor's view."""

    mode: SensorMode
    frame_size: tuple[int, int]
    width_percent: float
    """Part of the full field of view in the frames, horizontally."""
    height_percent: float

    def describe(self) -> str:
        """Return mode, field of view, frame size and highest frame rate as one line of text."""
        mode, (width, height) = self.mode, self.frame_size
        view = (
            "full field of view"
            if min(self.width_percent, self.height_percent) >= 100 * _EXACT_VIEW
            else f"field of view {self.width_percent:.0f} % of the width and {self.height_percent:.0f} % of the height"
        )
        return (
            f"sensor mode {mode.width}x{mode.height} {mode.bit_depth}-bit, {view}, frames {width}x{height}, "
            f"up to {mode.fps:.1f} FPS"
        )


def read_modes(found: Iterable[Mapping[str, Any]]) -> list[SensorMode]:
    """Convert the `sensor_modes` of Picamera2. Entries without size, frame rate or crop (USB cameras) are left out."""
    modes = []
    for entry in found:
        try:
            (width, height), (_, _, crop_width, crop_height) = entry["size"], entry["crop_limits"]
            mode = SensorMode(
                int(width), int(height), int(entry["bit_depth"]), float(entry["fps"]), int(crop_width), int(crop_height)
            )
        except (KeyError, TypeError, ValueError):
            continue
        if min(*mode.size, mode.crop_width, mode.crop_height) > 0:
            modes.append(mode)
    return modes


def parse_listing(text: str) -> dict[str, list[SensorMode]]:
    """Read the output of `rpicam-hello --list-cameras`.

    Args:
        text: The output; it may come from a board that is not trusted.

    Returns:
        The modes by camera, such as `0: imx219`. A camera that another program uses is listed without modes.
    """
    cameras: dict[str, list[SensorMode]] = {}
    modes: list[SensorMode] = []
    bit_depth = 0
    for line in (line[:_MAX_LINE_LENGTH] for line in text.splitlines()):
        if camera := _CAMERA_LINE.match(line):
            if len(cameras) >= _MAX_LISTED:
                break
            modes = cameras.setdefault(f"{camera[1]}: {camera[2][:40]}", [])
        if found := _FORMAT.search(line):
            bit_depth = int(found[1] or found[2])
        for mode in _MODE.finditer(line):
            width, height, crop_width, crop_height = (int(mode[index]) for index in (1, 2, 4, 5))
            if min(width, height, crop_width, crop_height) > 0 and len(modes) < _MAX_LISTED:
                modes.append(SensorMode(width, height, bit_depth, float(mode[3]), crop_width, crop_height))
    return cameras


def choose_view(
    modes: Sequence[SensorMode],
    frame_size: tuple[int, int],
    fps: float | None = None,
    sensor_size: tuple[int, int] | None = None,
) -> CameraView:
    """Choose the mode of a camera.

    Without `sensor_size` this is the smallest mode with the full field of view that reaches the frame rate and is not
    smaller than the frames. If no such mode reaches the frame rate, the fastest mode with the full field of view.

    Args:
        modes: All modes of the sensor; at least one.
        frame_size: Largest width and height of the frames in pixels.
        fps: Wanted frames per second; None means `DEFAULT_FPS`.
        sensor_size: Size of the mode that the user wants; None chooses it.

    Raises:
        InputError: The sensor has no mode with `sensor_size`.
    """
    wanted_fps = (fps or DEFAULT_FPS) * _FPS_TOLERANCE
    largest = max(modes, key=lambda mode: mode.crop_width * mode.crop_height)

    def get_share(mode: SensorMode) -> float:
        return min(mode.crop_width / largest.crop_width, mode.crop_height / largest.crop_height)

    def get_rank(mode: SensorMode) -> tuple[float, ...]:
        width, height = fit_frame_size(mode, frame_size)
        is_slow, is_small = mode.fps < wanted_fps, mode.width < width or mode.height < height
        area = mode.width * mode.height
        return (
            is_slow, -mode.fps if is_slow else 0, is_small, get_share(mode) < _EXACT_VIEW, -area if is_small else area,
            -mode.bit_depth,
        )  # fmt: skip

    if sensor_size is None:
        candidates = [mode for mode in modes if get_share(mode) >= _FULL_VIEW]
    else:
        candidates = [mode for mode in modes if mode.size == tuple(sensor_size)]
        if not candidates:
            sizes = ", ".join(f"[{width}, {height}]" for width, height in dict.fromkeys(mode.size for mode in modes))
            raise InputError(f"camera.sensor_size: expected one of {sizes}, got {list(sensor_size)}")
    mode = min(candidates, key=get_rank)
    # The frames have the shape of the crop, so the image processor cuts nothing off.
    return CameraView(
        mode, fit_frame_size(mode, frame_size),
        100 * mode.crop_width / largest.crop_width, 100 * mode.crop_height / largest.crop_height,
    )  # fmt: skip


def fit_frame_size(mode: SensorMode, largest: tuple[int, int]) -> tuple[int, int]:
    """Return the size of frames that show the whole view of a mode and fit into `largest`.

    Frames of another shape would lose a part of the view: 640x480 of a 16:9 sensor shows 75 % of its width. Width and
    height are even, as the image processor requires.
    """
    width, height = largest
    aspect = mode.crop_width / mode.crop_height
    if abs(aspect * height / width - 1) <= _ASPECT_TOLERANCE:
        return largest
    if aspect > width / height:
        return width, max(2, round(width / aspect / 2) * 2)
    return max(2, round(height * aspect / 2) * 2), height
