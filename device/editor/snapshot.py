"""One image of a source: an image file, a frame of a video, a camera, or the page of a board."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from time import monotonic
from urllib.parse import urlsplit, urlunsplit

from ...runtime.errors import InputError
from ...runtime.io.redact import mask_credentials
from ...runtime.skeleton import COCO18
from ...runtime.types import EstimateResult, Frame, Image, Timings
from ..config import CameraConfig, Config
from ..sinks.http import TOKEN_VARIABLE
from ..sinks.privacy import apply_privacy
from ..sources.base import FrameSource
from ..sources.factory import open_source
from ..sources.snapshot import fetch_image

_WARM_UP_S = 1.5
"""Cameras adjust their exposure in the first frames."""
_MIN_END_TOLERANCE_S = 0.1
"""The end of a video is shown in tenths of a second."""


def take_snapshot(source: str, at_s: float = 0.0, camera: CameraConfig | None = None) -> Image:
    """Return one frame of a source.

    Args:
        source: Source as for `edgepose camera --source`, or the page of a board, such as `http://board:8080/`. The
            token of the page is that in EDGEPOSE_HTTP_TOKEN.
        at_s: Time of the frame in a video, in seconds; images and cameras do not use it.
        camera: Other settings of the camera, such as its frame size.

    Returns:
        (height, width, 3), uint8, BGR.

    Raises:
        InputError: The source has no frame, or ends before the time.
    """
    if page := _find_page_snapshot(source):
        return _fetch_page_snapshot(page)
    settings = Config(camera=_make_settings(source, camera or CameraConfig()))
    settings.check()
    with closing(open_source(settings.camera)) as opened:
        frame = _choose_frame(opened, at_s)
    if frame is None:
        raise InputError(f"{source}: expected at least one image, got none")
    return apply_privacy(frame, EstimateResult((), Timings(0, 0, 0)), COCO18, "none")


def _find_page_snapshot(source: str) -> str:
    """Return the address of the image of a board's page; "" if the source is no such page."""
    if not source.lower().startswith(("http://", "https://")):
        return ""
    parts = urlsplit(source)
    if parts.path not in ("", "/", "/snapshot.jpg"):
        return ""
    return urlunsplit(parts._replace(path="/snapshot.jpg"))


def _fetch_page_snapshot(address: str) -> Image:
    try:
        return fetch_image(address, token=os.environ.get(TOKEN_VARIABLE, ""))
    except InputError as error:
        if "401" not in str(error):
            raise
        raise InputError(
            f"{mask_credentials(address)}: the page needs a token; put the token of the board into {TOKEN_VARIABLE}"
        ) from None


def _make_settings(source: str, camera: CameraConfig) -> CameraConfig:
    is_synthetic = source.startswith("synthetic")
    return CameraConfig(
        source=source, width=camera.width, height=camera.height, fps=camera.fps, sensor_size=camera.sensor_size,
        rotate=camera.rotate, controls=camera.controls, real_time=is_synthetic,
    )  # fmt: skip


def _choose_frame(source: FrameSource, at_s: float) -> Frame | None:
    frames = source.frames()
    try:
        return _find_last(frames, source, at_s)
    finally:
        source.stop()
        if isinstance(frames, Generator):
            frames.close()


def _find_last(frames: Iterator[Frame], source: FrameSource, at_s: float) -> Frame | None:
    """Return the frame of a file at a time, or the frame of a camera after its warm-up."""
    found, before, start_s = None, None, monotonic()
    for frame in frames:
        found, before = frame, found
        is_late = frame.timestamp_ns / 1e9 >= at_s if source.finite else monotonic() - start_s >= _WARM_UP_S
        if is_late:
            return found
    if source.finite and found is not None and before is not None:
        _check_end(found, before, at_s)
    return found


def _check_end(last: Frame, before: Frame, at_s: float) -> None:
    """Raise InputError if a time is after the end of the last frame, which is shown as long as the one before."""
    last_s = last.timestamp_ns / 1e9
    end_s = last_s + (last.timestamp_ns - before.timestamp_ns) / 1e9
    if at_s > max(end_s, last_s + _MIN_END_TOLERANCE_S):
        raise InputError(
            f"{mask_credentials(last.source)}: the video ends at {last_s:.1f} s; expected an earlier time (--at), "
            f"got {at_s:g} s"
        )
