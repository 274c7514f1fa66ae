"""Ring of compressed frames: the last seconds of a camera in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ...runtime.types import Image

MAX_BYTES = 8_000_000
"""Maximum size of the frames in a ring: 5 s at 10 FPS of about 1920x1080, or of pure noise at 640x480 for 3 s."""
_JPEG_QUALITY = 85
ROUNDING_S = 1e-3
"""Tolerance for the comparison of times."""


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A compressed frame.

    Attributes:
        time_s: Time in seconds, on the clock of the sink.
        captured_at: Time of the exposure as RFC 3339; None if unknown.
        content: The image as JPEG.
    """

    time_s: float
    captured_at: str | None
    content: npt.NDArray[np.uint8]

    def decode(self) -> Image:
        """Return the image: (height, width, 3) uint8 BGR."""
        return np.asarray(cv2.imdecode(self.content, cv2.IMREAD_COLOR), np.uint8)


def store_frame(image: Image, time_s: float, captured_at: str | None) -> StoredFrame:
    """Compress a frame.

    Raises:
        ValueError: The image cannot be stored as JPEG, because a side is longer than 65,500 pixels.
    """
    return StoredFrame(time_s, captured_at, encode_jpeg(image, _JPEG_QUALITY))


def encode_jpeg(image: Image, quality: int) -> npt.NDArray[np.uint8]:
    """Return an image as JPEG.

    Raises:
        ValueError: The image cannot be stored as JPEG, because a side is longer than 65,500 pixels.
    """
    try:
        return np.asarray(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1], np.uint8)
    except cv2.error:
        raise ValueError(f"{image.shape[1]}x{image.shape[0]} pixels cannot be stored as JPEG") from None


class FrameRing:
    """The last frames, at most `seconds` and `max_bytes` of them. One thread uses it."""

    def __init__(self, seconds: float, max_bytes: int = MAX_BYTES) -> None:
        """Begin without frames.

        Args:
            seconds: Maximum age of a frame, relative to the last one.
            max_bytes: Maximum size of all frames.
        """
        self._seconds, self._max_bytes = seconds, max_bytes
        self._frames: deque[StoredFrame] = deque()
        self.size_bytes = 0

    def append(self, frame: StoredFrame) -> None:
        """Add a frame and remove those that are too old, or too many."""
        self._frames.append(frame)
        self.size_bytes += frame.content.nbytes
        while len(self._frames) > 1 and (
            frame.time_s - self._frames[0].time_s > self._seconds + ROUNDING_S or self.size_bytes > self._max_bytes
        ):
            self.size_bytes -= self._frames.popleft().content.nbytes

    def list_last(self, seconds: float) -> list[StoredFrame]:
        """Return the frames that are at most `seconds` older than the last one."""
        return [frame for frame in self._frames if self._frames[-1].time_s - frame.time_s <= seconds + ROUNDING_S]

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[StoredFrame]:
        return iter(self._frames)
