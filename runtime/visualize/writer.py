"""Drawn images and videos in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError, OutputError
from ..io import atomic
from ..io.images import VIDEOS, fits_jpeg, open_capture, write_image
from ..skeleton import Skeleton
from ..stderr import suppress_stderr
from ..types import EstimateResult, Frame, Image
from .draw import draw_poses


class Drawings:
    """Takes frames with their poses and writes them drawn: `NAME.jpg` for an image, `NAME.mp4` for a video.

    An image that is too large for JPEG (a side of more than 65500 pixels) is written as PNG.

    A video appears under its name when it is complete; an interrupted one leaves nothing.
    """

    def __init__(self, folder: Path, skeleton: Skeleton) -> None:
        """Raises OutputError where the folder cannot be made."""
        atomic.make_folder(folder)
        self.folder, self._skeleton = folder, skeleton
        self.paths: list[Path] = []
        self._video: _DrawnVideo | None = None

    def __enter__(self) -> Drawings:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._video is not None:
            self._video.close(complete=kind is None)

    def add(self, frame: Frame, estimate: EstimateResult, *, video: bool | None = None) -> None:
        """Draw one frame.

        Args:
            frame: the frame.
            estimate: its poses.
            video: whether the frames of this source are written as one video; by default, whether the suffix of the
                source is that of a video.

        Raises:
            OutputError: it cannot be written.
            InputError: frames of this size cannot be encoded as a video.
        """
        drawn = draw_poses(frame.image, estimate, self._skeleton)
        if Path(frame.source).suffix.lower() in VIDEOS if video is None else video:
            self._add_to_video(frame, drawn)
            return
        path = self._free(_stem(frame), ".jpg" if fits_jpeg(drawn) else ".png")
        write_image(path, drawn)
        self.paths.append(path)

    def _add_to_video(self, frame: Frame, drawn: Image) -> None:
        if self._video is None or self._video.source != frame.source:
            if self._video is not None:
                video, self._video = self._video, None
                video.close(complete=True)
            path = self._free(_stem(frame), ".mp4")
            self._video = _DrawnVideo(frame.source, path, drawn.shape[1], drawn.shape[0])
            self.paths.append(path)
        self._video.write(drawn)

    def _free(self, stem: str, suffix: str) -> Path:
        """A name in the folder that this run has not used yet."""
        path, number = self.folder / f"{stem}{suffix}", 1
        while path in self.paths:
            number += 1
            path = self.folder / f"{stem}-{number}{suffix}"
        return path


def _stem(frame: Frame) -> str:
    return Path(frame.source.replace(":", "_")).stem


class _DrawnVideo:
    """An MP4 that is written beside its place and moved there when it is done."""

    def __init__(self, source: str, path: Path, width: int, height: int) -> None:
        self.source, self.path = source, path
        with suppress_stderr(show_on_error=False):
            fps = _fps(Path(source))
        self._partial = path.with_name(f".{path.stem}.part{path.suffix}")
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        self._frames = 0
        self._size = width, height
        with suppress_stderr(show_on_error=False):
            place = str(self._partial.absolute())  # FFmpeg takes `NAME:` for a protocol
            self._writer = cv2.VideoWriter(place, fourcc, fps if 1 <= fps <= 240 else 25.0, self._size)
        if not self._writer.isOpened():
            if os.access(path.parent, os.W_OK):
                raise InputError(f"{source}: {width}x{height} pixels cannot be encoded as a video")
            raise OutputError(f"{path}: cannot write a video here")

    def write(self, image: Image) -> None:
        if (image.shape[1], image.shape[0]) != self._size:  # OpenCV would drop the frame
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        self._writer.write(image)
        self._frames += 1

    def close(self, *, complete: bool) -> None:
        """Moves the video to its place. Raises OutputError where not all of it could be written."""
        self._writer.release()
        try:
            if complete:
                # OpenCV's writer keeps a full disk to itself: only reading back tells.
                with suppress_stderr(show_on_error=False):
                    capture = open_capture(self._partial)
                    found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
                    capture.release()
                if found != self._frames:
                    raise OutputError(f"{self.path}: the video cannot be written (is the disk full?)")
                atomic.move(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)


def _fps(path: Path) -> float:
    """The frame rate of the video that is drawn; 0 if it is not known."""
    if not path.is_file():
        return 0.0
    capture = open_capture(path)
    fps = float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0
    capture.release()
    return fps
