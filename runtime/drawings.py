"""Drawn pictures and videos in a folder."""

from __future__ import annotations

from pathlib import Path

import cv2

from . import files
from .draw import draw_poses
from .errors import OutputError
from .images import VIDEOS, write_picture
from .quiet import silenced
from .skeleton import Skeleton
from .types import Estimate, Frame, Image


class Drawings:
    """Takes frames with their poses and writes them drawn: `NAME.jpg` for a picture, `NAME.mp4` for a video.

    A video appears under its name when it is complete; an interrupted one leaves nothing.
    """

    def __init__(self, folder: Path, skeleton: Skeleton) -> None:
        """Raises OutputError where the folder cannot be made."""
        files.make_folder(folder)
        self.folder, self._skeleton = folder, skeleton
        self.paths: list[Path] = []
        self._video: _DrawnVideo | None = None

    def __enter__(self) -> Drawings:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._video is not None:
            self._video.close(complete=kind is None)

    def add(self, frame: Frame, estimate: Estimate) -> None:
        """Draws one frame. Raises OutputError where it cannot be written."""
        drawn = draw_poses(frame.image, estimate, self._skeleton)
        if Path(frame.source).suffix.lower() in VIDEOS:
            self._add_to_video(frame, drawn)
            return
        path = self._free(Path(frame.source.replace(":", "_")).stem, ".jpg")
        write_picture(path, drawn)
        self.paths.append(path)

    def _add_to_video(self, frame: Frame, drawn: Image) -> None:
        if self._video is None or self._video.source != frame.source:
            if self._video is not None:
                self._video.close(complete=True)
            path = self._free(Path(frame.source).stem, ".mp4")
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


class _DrawnVideo:
    """An MP4 that is written beside its place and moved there when it is done."""

    def __init__(self, source: str, path: Path, width: int, height: int) -> None:
        self.source, self.path = source, path
        capture = cv2.VideoCapture(source)
        fps = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        self._partial = path.with_name(f".{path.stem}.part{path.suffix}")
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        self._frames = 0
        self._writer = cv2.VideoWriter(str(self._partial), fourcc, fps if 1 <= fps <= 240 else 25.0, (width, height))
        if not self._writer.isOpened():
            raise OutputError(f"{path}: cannot write a video here")

    def write(self, image: Image) -> None:
        self._writer.write(image)
        self._frames += 1

    def close(self, *, complete: bool) -> None:
        """Moves the video to its place. Raises OutputError where not all of it could be written."""
        self._writer.release()
        try:
            if complete:
                # OpenCV's writer keeps a full disk to itself: only reading back tells.
                with silenced(show_on_error=False):
                    capture = cv2.VideoCapture(str(self._partial))
                    found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
                    capture.release()
                if found != self._frames:
                    raise OutputError(f"{self.path}: the video cannot be written (is the disk full?)")
                files.move(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)
