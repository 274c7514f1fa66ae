"""Test of the real Picamera2 with libcamera's virtual camera and a real network. Runs in the root of picamera.sh."""

from __future__ import annotations

import inspect
import sys
import time
import types
from typing import Any

import numpy as np


class _Stub:
    def __getattr__(self, name: str) -> str:
        return name


# Picamera2 imports the display library even without a display.
sys.modules["pykms"] = types.ModuleType("pykms")
sys.modules["pykms"].PixelFormat = _Stub()  # type: ignore[attr-defined]

import libcamera  # noqa: E402
from picamera2 import Picamera2  # noqa: E402
from picamera2.allocators import LibcameraAllocator  # noqa: E402

from edgepose.device.camera.pipeline import Pipeline  # noqa: E402
from edgepose.device.sources.picamera import PiCamera  # noqa: E402
from edgepose.runtime import PoseEstimator  # noqa: E402
from edgepose.runtime.errors import InputError  # noqa: E402


def _list_video_modes(self: Any) -> list[dict[str, Any]]:
    """Return the video formats instead of the raw formats, because the virtual camera has no raw streams."""
    formats = self.camera.generate_configuration([libcamera.StreamRole.VideoRecording]).at(0).formats
    return [{"format": str(f), "size": (s.width, s.height)} for f in formats.pixel_formats for s in formats.sizes(f)]


Picamera2._get_raw_modes = _list_video_modes


def open_camera(kind: str) -> PiCamera:
    """Open the camera whose id contains `kind`. The camera numbers do not identify the camera."""

    def prepare(camera: Any) -> None:
        camera.allocator = LibcameraAllocator(camera.camera)
        if kind not in camera.camera.id:
            raise IndexError("another camera")

    for number in range(2):
        try:
            return PiCamera(640, 480, number=number, prepare=prepare)
        except InputError as error:
            if "another camera" not in str(error):
                raise
    raise SystemExit(f"no camera {kind}")


def main() -> None:
    """Run all checks; raises an exception if a check fails."""
    # The virtual camera has no sensor modes, so this option is not used here.
    assert "sensor" in inspect.signature(Picamera2.create_video_configuration).parameters
    camera = open_camera("Bars")
    frame = next(camera.frames())
    camera.close()
    assert frame.image.shape == (480, 640, 3), frame.image.shape
    colors = {tuple(int(c > 127) for c in pixel) for pixel in frame.image[240, ::20]}
    wanted = {(b, g, r) for b in (0, 1) for g in (0, 1) for r in (0, 1)}
    assert colors == wanted, f"eight bars in all colors of blue, green and red, got {sorted(colors)}"
    assert 0 <= time.monotonic_ns() - frame.timestamp_ns < 5e9, "the exposure was a moment ago"
    print(f"bars: {camera.format}, all eight colors where they belong")

    estimator = PoseEstimator(sys.argv[1], threads=1)
    people = []
    with Pipeline(open_camera("Images"), estimator) as results:
        for _ in range(20):
            people.append(len(next(results).estimate))
    assert np.median(people) == 2, people
    print("images: two people found")
    with Pipeline(open_camera("Images"), estimator) as results:
        next(results)
    print("opened a second time after it was closed")
    try:
        PiCamera(640, 480, number=7)
    except InputError as error:
        print(f"a camera that is not there: {error}")
    else:
        raise AssertionError("camera 7 was opened")


main()
