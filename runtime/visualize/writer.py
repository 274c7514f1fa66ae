"""Writer for images and videos with drawn poses."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError, OutputError
from ..io import atomic
from ..io.images import VIDEO_SUFFIXES, fits_in_jpeg, open_capture, write_image
from ..io.messages import show_note
from ..io.naming import make_source_slug
from ..io.video_writer import VideoWriter, open_video_writer
from ..skeleton import Skeleton
from ..stderr import suppress_stderr
from ..types import EstimateResult, Frame, Image
from .draw import draw_poses


class DrawingWriter:
    """Writer that draws poses on frames and writes `NAME.jpg` for an image and `NAME.mp4` for a video.

    An image that is too large for JPEG (a side of more than 65500 pixels) is written as PNG. A video gets its final
    name when it is complete. If writing is interrupted, no video of a file remains; that of a camera is kept.

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
        self._video: DrawnVideo | None = None
        self._is_live = False

    def __enter__(self) -> DrawingWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._video is not None:
            # Ctrl-C is the usual end of a camera.
            is_end_of_camera = self._is_live and kind is not None and issubclass(kind, KeyboardInterrupt)
            self._video.close(complete=kind is None or is_end_of_camera)

    def add(self, frame: Frame, estimate: EstimateResult, *, video: bool | None = None, live: bool = False) -> None:
        """Draw one frame.

        Args:
            frame: The frame.
            estimate: The poses in it.
            video: True to write the frames of this source as one video. Default: True if the suffix of the source is
                that of a video.
            live: True for a camera: the video is kept if writing is interrupted.

        Raises:
            OutputError: The file cannot be written.
            InputError: Frames of this size cannot be encoded as a video.
        """
        self._is_live = live
        image = np.ascontiguousarray(frame.image[..., ::-1]) if frame.channel_order == "rgb" else frame.image
        drawn = draw_poses(image, estimate, self._skeleton)
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
            self._video = DrawnVideo(frame.source, path, drawn.shape[1], drawn.shape[0])
            self.paths.append(path)
        self._video.write(drawn, frame.timestamp_ns)

    def _find_unused_path(self, stem: str, suffix: str) -> Path:
        """Return a path in the folder that this run has not used yet."""
        path, number = self.folder / f"{stem}{suffix}", 1
        while path in self.paths:
            number += 1
            path = self.folder / f"{stem}-{number}{suffix}"
        return path


def _make_stem(frame: Frame) -> str:
    if frame.source == "-" or "://" in frame.source:
        return make_source_slug(frame.source)
    return Path(frame.source.replace(":", "_")).stem


class DrawnVideo:
    """MP4 file that is written under a temporary name in the same folder and renamed when it is complete.

    Frames of another size than the first one are resized. If the process is killed, the temporary file plays up to the
    last two seconds.
    """

    def __init__(self, source: str, path: Path, width: int, height: int) -> None:
        self.source, self.path = source, path
        with suppress_stderr(show_on_error=False):
            fps = _read_fps(Path(source))
        self._fps = fps if 1 <= fps <= 240 else 25.0
        self._partial = path.with_name(f".{path.stem}.part{path.suffix}")
        self._size = width, height
        self._time_s: float | None = None
        try:
            self._writer = open_video_writer(self._partial, width, height, self._fps, threads=0)
        except OutputError as error:
            if os.access(path.parent, os.W_OK):
                raise InputError(f"{source}: {width}x{height} pixels cannot be encoded as a video") from None
            raise OutputError(f"{path}: cannot create a video in this folder") from error
        _show_drawback(self._writer)

    def write(self, image: Image, timestamp_ns: int) -> None:
        """Append a frame. A frame without a later time than the last one follows it at the usual frame rate.

        Raises:
            OutputError: The file cannot be written.
        """
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        time_s = timestamp_ns / 1e9
        if self._time_s is not None and time_s <= self._time_s:
            time_s = self._time_s + 1 / self._fps
        self._time_s = time_s
        try:
            self._writer.write(image, time_s)
        except OutputError as error:
            raise OutputError(str(error).replace(str(self._partial), str(self.path))) from None

    def close(self, *, complete: bool) -> None:
        """Close the video; give it its final name if it is complete, otherwise delete it.

        Raises:
            OutputError: Not all frames could be written.
        """
        try:
            self._writer.close()
            if complete:
                atomic.move_into_place(self._partial, self.path)
        except OutputError as error:
            if complete:
                raise OutputError(str(error).replace(str(self._partial), str(self.path))) from None
        finally:
            self._partial.unlink(missing_ok=True)


@cache
def _show_drawback_once(text: str) -> None:
    show_note(text)


def _show_drawback(writer: VideoWriter) -> None:
    if writer.drawback:
        _show_drawback_once(f"--draw: videos are written as {writer.description}: {writer.drawback}")


def _read_fps(path: Path) -> float:
    """Return the frame rate of a source video in frames per second; 0 if unknown."""
    if not path.is_file():
        return 0.0
    capture = open_capture(path)
    fps = float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0
    capture.release()
    return fps
