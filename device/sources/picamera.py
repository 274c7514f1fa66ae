"""A Raspberry Pi's camera through Picamera2.

The image comes at the size that is asked for, so that the image processor resizes and not the CPU. It is copied once,
out of the camera's memory, so that the camera has its buffer back at once and a page may show the frame later. What
Picamera2 gives is read back after configuring, because it adjusts what it cannot do.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from time import CLOCK_BOOTTIME, clock_gettime_ns, monotonic_ns
from typing import Any

import cv2
import numpy as np

from ...runtime.errors import InputError
from ...runtime.types import ChannelOrder, Frame, Image
from .base import FrameSource

_BUFFERS = 4
_CONVERSIONS = {
    "YUV420": cv2.COLOR_YUV2BGR_I420, "NV12": cv2.COLOR_YUV2BGR_NV12, "NV21": cv2.COLOR_YUV2BGR_NV21,
    "YUYV": cv2.COLOR_YUV2BGR_YUYV,
}  # fmt: skip
# libcamera names packed formats by their order in a little-endian word, so RGB888 is BGR in memory.
_PACKED: Mapping[str, tuple[int, ChannelOrder]] = {
    "RGB888": (3, "bgr"), "BGR888": (3, "rgb"), "XRGB8888": (4, "bgr"), "XBGR8888": (4, "rgb"),
}  # fmt: skip


class PiCamera(FrameSource):
    """The main stream of camera `number`, as small as the network wants it."""

    def __init__(
        self,
        width: int,
        height: int,
        fps: float | None = None,
        *,
        number: int = 0,
        rotate: bool = False,
        controls: Mapping[str, Any] | None = None,
        prepare: Any = None,
    ) -> None:
        """`rotate`: by half a turn, in the sensor. `controls`: libcamera's, passed on as they are.

        `prepare` is called with the Picamera2 before it is configured (tests). Raises InputError where there is no
        Picamera2, no camera, or another program has it.
        """
        super().__init__()
        camera_class = _picamera2()
        self._picamera = None
        try:
            self._picamera = camera = camera_class(number)
            if prepare is not None:
                prepare(camera)
            self._configure(camera, (width, height), fps, rotate, dict(controls or {}))
            camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            self.close()
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"picamera2: camera {number} cannot be opened: {reason}") from None
        stream = camera.camera_configuration()["main"]
        self.format, (self.width, self.height), self._stride = stream["format"], stream["size"], stream["stride"]
        if self.format not in _CONVERSIONS and self.format not in _PACKED:
            self.close()
            raise InputError(f"picamera2: gives {self.format}; expected one of {', '.join([*_PACKED, *_CONVERSIONS])}")

    def frames(self) -> Iterator[Frame]:
        """Iterate until `stop` is called; a camera that is lost is an InputError."""
        index = 0
        while (camera := self._picamera) is not None and not self._stop_requested.is_set():
            try:
                request = camera.capture_request()
            except (RuntimeError, OSError) as error:
                raise InputError(f"picamera2: the camera is lost: {error}") from None
            try:
                if self._stop_requested.is_set():
                    return
                # SensorTimestamp counts from boot, sleep included; ours does not include sleep.
                taken = request.get_metadata().get("SensorTimestamp")
                stamp = monotonic_ns() if taken is None else _monotonic(int(taken))
                image, order = self._image(request.make_array("main"))
            finally:
                request.release()
            yield Frame(image, "picamera2", index, stamp, order, captured_ns=stamp)
            index += 1

    def close(self) -> None:
        """Stop the camera and give it back. Only for the thread that owns it."""
        camera, self._picamera = self._picamera, None
        if camera is not None:
            camera.stop()
            camera.close()

    def _configure(
        self, camera: Any, size: tuple[int, int], fps: float | None, rotate: bool, controls: dict[str, Any]
    ) -> None:
        if fps is not None:
            frame_us = round(1e6 / fps)
            controls.setdefault("FrameDurationLimits", (frame_us, frame_us))
        options: dict[str, Any] = {
            "main": {"size": size, "format": "RGB888"}, "buffer_count": _BUFFERS, "queue": False, "controls": controls
        }  # fmt: skip
        if rotate:
            options["transform"] = importlib.import_module("libcamera").Transform(hflip=1, vflip=1)
        camera.configure(camera.create_video_configuration(**options))

    def _image(self, array: np.typing.NDArray[np.uint8]) -> tuple[Image, ChannelOrder]:
        """The image in color, without the bytes that fill up its lines."""
        if self.format in _PACKED:
            channels, order = _PACKED[self.format]
            image = array.reshape(self.height, -1)[:, : self.width * channels]
            return np.ascontiguousarray(image.reshape(self.height, self.width, channels)[:, :, :3]), order
        lines = array.reshape(-1, self._stride) if self.format != "YUYV" else array.reshape(self.height, -1, 2)
        image = lines[:, : self.width] if lines.shape[1] != self.width else lines
        color = cv2.cvtColor(np.ascontiguousarray(image), _CONVERSIONS[self.format])
        return np.asarray(color, np.uint8), "bgr"


def _picamera2() -> Any:
    try:
        return importlib.import_module("picamera2").Picamera2
    except ModuleNotFoundError as error:
        raise InputError(
            f"picamera2: not installed for this Python ({error.name} is missing): sudo apt install python3-picamera2, "
            "and make the environment with --system-site-packages"
        ) from None


def _monotonic(since_boot_ns: int) -> int:
    return since_boot_ns - clock_gettime_ns(CLOCK_BOOTTIME) + monotonic_ns()
