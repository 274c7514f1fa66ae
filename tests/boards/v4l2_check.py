"""Test of OpenCV with the kernel's virtual USB camera (vivid). Runs in the virtual machine of v4l2.sh."""

from __future__ import annotations

import itertools
import time

from edgepose.device.config import CameraConfig
from edgepose.device.sources.factory import open_source
from edgepose.device.sources.opencv import V4l2Camera
from edgepose.runtime.errors import InputError


def check_refusal(number: int, width: int, height: int, expected: str) -> None:
    """Raise an exception if the camera can be opened, or if the error is a different one."""
    try:
        V4l2Camera(number, width, height, None)
    except InputError as error:
        assert expected in str(error), error
        print(f"refused: {error}")
    else:
        raise AssertionError(f"expected: {expected}")


def main() -> None:
    """Run all checks; raises an exception if a check fails."""
    camera = open_source(CameraConfig("v4l2:0", 640, 480))
    frames = camera.frames()
    first = next(frames)
    assert first.image.shape == (480, 640, 3)
    assert first.image.std() > 30, "an image, not one color"
    start = time.monotonic()
    later = list(itertools.islice(frames, 20))
    rate = 20 / (time.monotonic() - start)
    assert 5 < rate < 70, rate
    assert later[-1].timestamp_ns > later[0].timestamp_ns
    print(f"{rate:.0f} frames a second of 640x480")
    check_refusal(0, 640, 480, "in use by another program")
    camera.close()
    check_refusal(0, 333, 222, "does not support 333x222; the nearest size is")
    check_refusal(5, 640, 480, "there is no such camera; available: /dev/video0")
    again = open_source(CameraConfig("v4l2:0", 640, 480))
    next(again.frames())
    again.close()
    print("opened a second time after it was closed")


main()
