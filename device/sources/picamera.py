"""Frame source for Raspberry Pi cameras, based on Picamera2.

The sensor mode is chosen so that the frames show the full field of view (`sensor_modes`). The camera delivers frames
that fit into the requested size, so that the image processor resizes them and not the CPU. Each frame is copied once
out of the memory of the camera. The camera gets its buffer back at once, and the web page can show the frame later.
Format and size are read back after the configuration, because Picamera2 adjusts values that it does not support.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping
from time import CLOCK_BOOTTIME, clock_gettime_ns, monotonic_ns
from typing import Any

import cv2
import numpy as np

from ...runtime.errors import InputError
from ...runtime.types import ChannelOrder, Frame, Image
from . import sensor_modes
from .base import FrameSource
from .sensor_modes import CameraView

LOG = logging.getLogger("edgepose")
_BUFFER_COUNT = 4
_logged_views: set[str] = set()
"""Descriptions that were logged. A camera is opened again after each loss, which must not repeat the line."""
_YUV_TO_BGR = {
    "YUV420": cv2.COLOR_YUV2BGR_I420, "NV12": cv2.COLOR_YUV2BGR_NV12, "NV21": cv2.COLOR_YUV2BGR_NV21,
    "YUYV": cv2.COLOR_YUV2BGR_YUYV,
}  # fmt: skip
# Bytes per pixel, and order in memory. libcamera names packed formats by the order in a little-endian word, so RGB888
# is BGR in memory.
_PACKED_RGB: Mapping[str, tuple[int, ChannelOrder]] = {
    "RGB888": (3, "bgr"), "BGR888": (3, "rgb"), "XRGB8888": (4, "bgr"), "XBGR8888": (4, "rgb"),
}  # fmt: skip


class PiCamera(FrameSource):
    """Raspberry Pi camera, read from the main stream of Picamera2."""

    def __init__(
        self,
        width: int,
        height: int,
        fps: float | None = None,
        *,
        number: int = 0,
        rotate: bool = False,
        sensor_size: tuple[int, int] | None = None,
        controls: Mapping[str, Any] | None = None,
        prepare: Any = None,
    ) -> None:
        """Open, configure and start the camera.

        Args:
            width: Largest width of the frames in pixels.
            height: Largest height of the frames in pixels. Frames have the shape of the field of view.
            fps: Frames per second; default: 30, or the most that the sensor mode allows.
            number: Index of the camera.
            rotate: True to rotate the image by 180 degrees, in the sensor.
            sensor_size: Size of the sensor mode in pixels; default: the smallest mode with the full field of view that
                reaches `fps`.
            controls: Controls of libcamera, passed on unchanged.
            prepare: Called with the Picamera2 object before it is configured (for tests).

        Raises:
            InputError: Picamera2 is not installed, there is no such camera, another program uses it, it has no such
                sensor mode, or it delivers a format that is not supported.
        """
        super().__init__()
        camera_class = _import_picamera2()
        self._picamera = None
        self._name = f"picamera2:{number}"
        try:
            self._picamera = camera = camera_class(number)
            if prepare is not None:
                prepare(camera)
            view = self._choose_view(camera, (width, height), fps, sensor_size)
            self._configure(camera, (width, height), view, fps, rotate, dict(controls or {}))
            camera.start()
        except InputError:
            self.close()
            raise
        except (RuntimeError, IndexError, OSError) as error:
            self.close()
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"picamera2: camera {number} cannot be opened: {reason}") from None
        stream = camera.camera_configuration()["main"]
        self.format, (self.width, self.height), self._stride = stream["format"], stream["size"], stream["stride"]
        if self.format not in _YUV_TO_BGR and self.format not in _PACKED_RGB:
            self.close()
            formats = ", ".join([*_PACKED_RGB, *_YUV_TO_BGR])
            raise InputError(f"picamera2: the format {self.format} is not supported; expected one of {formats}")

    def frames(self) -> Iterator[Frame]:
        """Iterate until `stop` is called.

        Raises:
            InputError: The camera is lost.
        """
        index = 0
        while (camera := self._picamera) is not None and not self._stop_requested.is_set():
            try:
                request = camera.capture_request()
            except (RuntimeError, OSError) as error:
                raise InputError(f"picamera2: the camera is lost: {error}") from None
            try:
                if self._stop_requested.is_set():
                    return
                # SensorTimestamp includes the time in suspend; the monotonic clock does not.
                boot_time_ns = request.get_metadata().get("SensorTimestamp")
                captured_ns = monotonic_ns() if boot_time_ns is None else _convert_boot_time_ns(int(boot_time_ns))
                image, order = self._convert_image(request.make_array("main"))
            finally:
                request.release()
            yield Frame(image, "picamera2", index, captured_ns, order, captured_ns=captured_ns)
            index += 1

    def close(self) -> None:
        """Stop and release the camera. Only the thread that owns the source may call it."""
        camera, self._picamera = self._picamera, None
        if camera is not None:
            camera.stop()
            camera.close()

    def _choose_view(
        self, camera: Any, size: tuple[int, int], fps: float | None, sensor_size: tuple[int, int] | None
    ) -> CameraView | None:
        """Choose the sensor mode and log it; None if the camera has no modes (USB and virtual cameras)."""
        try:
            modes = sensor_modes.read_modes(camera.sensor_modes)
        except Exception as error:  # a camera without raw images: Picamera2 and libcamera raise what they like
            LOG.debug("%s: the sensor modes cannot be read: %s", self._name, error)
            modes = []
        if not modes:
            if sensor_size is not None:
                raise InputError(f"camera.sensor_size: {self._name} has no sensor modes; remove this setting")
            return None
        view = sensor_modes.choose_view(modes, size, fps, sensor_size)
        self.description = f"{self._name}: {view.describe()}"
        if self.description not in _logged_views:
            _logged_views.add(self.description)
            LOG.info("%s", self.description)
            if fps is not None and view.mode.fps < fps:
                LOG.warning(
                    "%s: %g FPS were requested, this sensor mode reaches %.1f; a mode with a smaller field of view can "
                    "be faster, see camera.sensor_size", self._name, fps, view.mode.fps,
                )  # fmt: skip
        return view

    def _configure(
        self,
        camera: Any,
        size: tuple[int, int],
        view: CameraView | None,
        fps: float | None,
        rotate: bool,
        controls: dict[str, Any],
    ) -> None:
        if fps is not None:
            frame_us = round(1e6 / fps)
            controls.setdefault("FrameDurationLimits", (frame_us, frame_us))
        options: dict[str, Any] = {
            "main": {"size": view.frame_size if view else size, "format": "RGB888"}, "buffer_count": _BUFFER_COUNT,
            "queue": False, "controls": controls,
        }  # fmt: skip
        if view is not None:
            options["sensor"] = {"output_size": view.mode.size, "bit_depth": view.mode.bit_depth}
        if rotate:
            options["transform"] = importlib.import_module("libcamera").Transform(hflip=1, vflip=1)
        camera.configure(camera.create_video_configuration(**options))

    def _convert_image(self, array: np.typing.NDArray[np.uint8]) -> tuple[Image, ChannelOrder]:
        """Convert a camera buffer to a color image (height, width, 3) without the padding at the end of the lines."""
        if self.format in _PACKED_RGB:
            channels, order = _PACKED_RGB[self.format]
            image = array.reshape(self.height, -1)[:, : self.width * channels]
            return np.ascontiguousarray(image.reshape(self.height, self.width, channels)[:, :, :3]), order
        lines = array.reshape(-1, self._stride) if self.format != "YUYV" else array.reshape(self.height, -1, 2)
        image = lines[:, : self.width] if lines.shape[1] != self.width else lines
        color = cv2.cvtColor(np.ascontiguousarray(image), _YUV_TO_BGR[self.format])
        return np.asarray(color, np.uint8), "bgr"


def _import_picamera2() -> Any:
    try:
        return importlib.import_module("picamera2").Picamera2
    except ModuleNotFoundError as error:
        raise InputError(
            f"picamera2: not installed for this Python ({error.name} is missing); on a Raspberry Pi, run sudo apt "
            "install python3-picamera2, and create the virtual environment with --system-site-packages; "
            "a USB camera is source 0"
        ) from None


def _convert_boot_time_ns(boot_time_ns: int) -> int:
    """Convert a time of CLOCK_BOOTTIME to the monotonic clock, both in nanoseconds."""
    return boot_time_ns - clock_gettime_ns(CLOCK_BOOTTIME) + monotonic_ns()
