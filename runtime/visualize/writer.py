"""Writer for images and videos with drawn poses."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError, OutputError
from ..io import atomic
from ..io.images import VIDEO_SUFFIXES, fits_in_jpeg, open_capture, write_image
from ..skeleton import Skeleton
from ..stderr import suppress_stderr
from ..types import EstimateResult, Frame, Image
from .draw import draw_poses


class DrawingWriter:
    """Writer that draws poses on frames and writes `NAME.jpg` for an image and `NAME.mp4` for a video.

    An image that is too large for JPEG (a side of more than 65500 pixels) is written as PNG. A video gets its final
    name when it is complete. If writing is interrupted, no video remains.

    Attributes:
        folder: Where the files are written.
        paths: Files that were written or begun, in order.
    """

    def __init__(self, folder: Path, skeleton: Skeleton) -> None:
        """Create the folder.

        Raises:
            OutputError: The folder cannot be created.
        """
        atomic.make_folder(folder)
        self.folder, self._skeleton = folder, skeleton
        self.paths: list[Path] = []
        self._video: _DrawnVideo | None = None

    def __enter__(self) -> DrawingWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._video is not None:
            self._video.close(complete=kind is None)

    def add(self, frame: Frame, estimate: EstimateResult, *, video: bool | None = None) -> None:
        """Draw one frame.

        Args:
            frame: The frame.
            estimate: The poses in it.
            video: True to write the frames of this source as one video. Default: True if the suffix of the source is
                that of a video.

        Raises:
            OutputError: The file cannot be written.
            InputError: Frames of this size cannot be encoded as a video.
        """
        drawn = draw_poses(frame.image, estimate, self._skeleton)
        if Path(frame.source).suffix.lower() in VIDEO_SUFFIXES if video is None else video:
            self._add_to_video(frame, drawn)
            return
        path = self._find_unused_path(_make_stem(frame), ".jpg" if fits_in_jpeg(drawn) else ".png")
        write_image(path, drawn)
        self.paths.append(path)

    def _add_to_video(self, frame: Frame, drawn: Image) -> None:
        if self._video is None or self._video.source != frame.source:
            if self._video is not None:
                video, self._video = self._video, None
                video.close(complete=True)
            path = self._find_unused_path(_make_stem(frame), ".mp4")
            self._video = _DrawnVideo(frame.source, path, drawn.shape[1], drawn.shape[0])
            self.paths.append(path)
        self._video.write(drawn)

    def _find_unused_path(self, stem: str, suffix: str) -> Path:
        """Return a path in the folder that this run has not used yet."""
        path, number = self.folder / f"{stem}{suffix}", 1
        while path in self.paths:
            number += 1
            path = self.folder / f"{stem}-{number}{suffix}"
        return path


def _make_stem(frame: Frame) -> str:
    return Path(frame.source.replace(":", "_")).stem


class _DrawnVideo:
    """MP4 file that is written under a temporary name in the same folder and renamed when it is complete.

    Frames of another size than the first one are resized.
    """

    def __init__(self, source: str, path: Path, width: int, height: int) -> None:
        self.source, self.path = source, path
        with suppress_stderr(show_on_error=False):
            fps = _read_fps(Path(source))
        self._partial = path.with_name(f".{path.stem}.part{path.suffix}")
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        self._frames = 0
        self._size = width, height
        with suppress_stderr(show_on_error=False):
            absolute_path = str(self._partial.absolute())  # FFmpeg interprets `NAME:` in a relative path as a protocol.
            self._writer = cv2.VideoWriter(absolute_path, fourcc, fps if 1 <= fps <= 240 else 25.0, self._size)
        if not self._writer.isOpened():
            if os.access(path.parent, os.W_OK):
                raise InputError(f"{source}: {width}x{height} pixels cannot be encoded as a video")
            raise OutputError(f"{path}: cannot create a video in this folder")

    def write(self, image: Image) -> None:
        if (image.shape[1], image.shape[0]) != self._size:  # OpenCV drops frames of another size.
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        self._writer.write(image)
        self._frames += 1

    def close(self, *, complete: bool) -> None:
        """Close the video; give it its final name if it is complete, otherwise delete it.

        Raises:
            OutputError: Not all frames could be written.
        """
        self._writer.release()
        try:
            if complete:
                # OpenCV reports no error if the disk is full, so the frames in the file are counted.
                with suppress_stderr(show_on_error=False):
                    capture = open_capture(self._partial)
                    found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
                    capture.release()
                if found != self._frames:
                    raise OutputError(f"{self.path}: the video cannot be written completely; the disk may be full")
                atomic.move_into_place(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)


def _read_fps(path: Path) -> float:
    """Return the frame rate of a source video in frames per second; 0 if unknown."""
    if not path.is_file():
        return 0.0
    capture = open_capture(path)
    fps = float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0
    capture.release()
    return fps
