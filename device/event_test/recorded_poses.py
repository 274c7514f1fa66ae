"""Poses that `edgepose run` or `edgepose camera` has written as JSON lines, for tests of rules without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime import schema
from ...runtime.errors import InputError
from ...runtime.skeleton import COCO18, Skeleton, load_skeleton
from ...runtime.types import EstimateResult, Frame, Image, Pose, Timings

MAX_LINE_BYTES = 10_000_000
_MAX_SIDE_PX = 16384


@dataclass(frozen=True)
class _RecordedPose:
    score: float
    keypoints: tuple[tuple[float, float, float], ...]
    person: int = 0


@dataclass(frozen=True)
class _RecordedFrame:
    source: str
    index: int
    timestamp_ns: int
    width: int
    height: int
    poses: tuple[_RecordedPose, ...]
    camera: str = ""
    skeleton: str = COCO18.name


class RecordedPoses:
    """The frames of a file with JSON lines. Their images are black.

    Attributes:
        skeleton: Skeleton of the poses, known from the first frame on.
        is_tracked: True if the people have numbers, known from the first person on.
    """

    def __init__(self, path: Path, fps: float, camera: str = "") -> None:
        """Remember the file.

        Args:
            path: The file.
            fps: Frame rate of images, whose lines have no time.
            camera: Camera whose frames are read, if the file has several.
        """
        self._path, self._fps, self._camera = path, fps, camera
        self.skeleton = COCO18
        self.is_tracked = False
        self._image: Image = np.zeros((0, 0, 3), np.uint8)

    def read(self) -> Iterator[tuple[Frame, EstimateResult]]:
        """Yield the frames in the order of the file, each with a time that is not earlier than the one before.

        Raises:
            InputError: The file cannot be read, or a line is not what edgepose writes.
        """
        count, last_ns, camera = 0, 0, self._camera
        for number, line in self._read_lines():
            frame = self._parse(number, line)
            if frame is None or (self._camera and frame.camera != self._camera):
                continue
            camera = camera or frame.camera
            if frame.camera != camera:
                raise self._make_error(number, f"expected one camera, got {frame.camera} after {camera}; use --camera")
            time_ns = frame.timestamp_ns or round(count * 1e9 / self._fps)
            if count and time_ns < last_ns:
                raise self._make_error(
                    number, f"the time goes back (source {frame.source}); expected the frames of one video or camera"
                )
            last_ns = time_ns
            count += 1
            yield self._convert(number, frame, time_ns)
        if not count:
            wanted = f" of the camera {self._camera}" if self._camera else ""
            raise InputError(f"{self._path}: expected JSON lines of edgepose with frames{wanted}, got none")

    def _read_lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            with self._path.open("rb") as file:
                number = 0
                while line := file.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    if len(line) > MAX_LINE_BYTES:
                        raise self._make_error(number, f"expected at most {MAX_LINE_BYTES / 1e6:.0f} MB in a line")
                    if line.strip():
                        yield number, line
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror}") from None

    def _parse(self, number: int, line: bytes) -> _RecordedFrame | None:
        """Parse a line; None if it is an event."""
        try:
            value = json.loads(line)
            if isinstance(value, dict) and "event" in value:
                return None
            frame = schema.build(_RecordedFrame, value)
        except (ValueError, RecursionError) as error:
            is_json = not isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, RecursionError))
            reason = str(error) if is_json else "not JSON"
            raise self._make_error(number, f"{reason}; expected a line that `edgepose run` writes") from None
        if not (0 < frame.width <= _MAX_SIDE_PX and 0 < frame.height <= _MAX_SIDE_PX):
            raise self._make_error(
                number, f"expected a width and height from 1 to {_MAX_SIDE_PX}, got {frame.width}x{frame.height}"
            )
        return frame

    def _convert(self, number: int, frame: _RecordedFrame, time_ns: int) -> tuple[Frame, EstimateResult]:
        if frame.skeleton != self.skeleton.name:
            self.skeleton = self._load_skeleton(number, frame.skeleton)
        count = len(self.skeleton.keypoints)
        poses = []
        for pose in frame.poses:
            if len(pose.keypoints) != count:
                raise self._make_error(
                    number, f"expected {count} keypoints ({self.skeleton.name}), got {len(pose.keypoints)}"
                )
            self.is_tracked = self.is_tracked or pose.person > 0
            poses.append(Pose(np.array(pose.keypoints, np.float32), pose.score, max(0, pose.person), self.skeleton))
        if self._image.shape[:2] != (frame.height, frame.width):
            self._image = np.zeros((frame.height, frame.width, 3), np.uint8)
        shown = Frame(self._image, frame.source, frame.index, time_ns)
        return shown, EstimateResult(tuple(poses), Timings(0, 0, 0), skeleton=self.skeleton)

    def _load_skeleton(self, number: int, name: str) -> Skeleton:
        # A name only: a path in a file from elsewhere must not choose what is read here.
        if "/" in name or "." in name:
            raise self._make_error(number, f"unknown skeleton {name[:80]!r}")
        try:
            return load_skeleton(name)
        except (ValueError, InputError) as error:
            raise self._make_error(number, str(error)) from None

    def _make_error(self, number: int, text: str) -> InputError:
        return InputError(f"{self._path}: line {number}: {text}")
