"""Frame source for standard input: a stream of JPEG images (motion JPEG), or one image in any format."""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Iterator
from time import monotonic_ns

from ...runtime.errors import InputError
from ...runtime.io.images import decode_image
from ...runtime.io.jpeg_stream import MAX_IMAGE_BYTES, JpegSplitter
from ...runtime.types import Frame
from .base import FrameSource

LOG = logging.getLogger("edgepose")

_NAME = "-"
_STDIN = 0
_POLL_S = 0.1
"""Interval at which a source without data checks if it has to stop."""
_READ_BYTES = 1 << 20
_MAX_SKIPPED_BYTES = 1 << 20
"""A stream with this much data before its first image is no stream of JPEG images."""
_H264_STARTS = (b"\0\0\0\1", b"\0\0\1")
_HINT = "expected JPEG images, for example from `rpicam-vid -t 0 --codec mjpeg -o -`"


class JpegPipe(FrameSource):
    """Images that another program writes into the standard input of this process.

    The thread that owns the source reads the descriptor. It is not closed: it belongs to the process.
    """

    finite = True

    def __init__(self, *, live: bool, descriptor: int = _STDIN) -> None:
        """Check the descriptor.

        Args:
            live: True to deliver only the newest image if several have arrived; False to deliver all.
            descriptor: Number of the file descriptor.

        Raises:
            InputError: The descriptor is a terminal or closed.
        """
        super().__init__()
        try:
            os.fstat(descriptor)
        except OSError:
            raise InputError(f"{_NAME}: standard input is closed; {_HINT}") from None
        if os.isatty(descriptor):
            raise InputError(f"{_NAME}: standard input is a terminal; {_HINT}")
        self.live, self._descriptor = live, descriptor

    def frames(self) -> Iterator[Frame]:
        """Iterate over the images until the stream ends, or until `stop` is called.

        Raises:
            InputError: The data contains no image.
        """
        index, splitter, start = 0, JpegSplitter(), b""
        for piece in self._read_pieces():
            if index == 0 and len(start) < 4:
                start += piece
                if len(start) < 4:
                    continue
                if not start.startswith((b"\xff\xd8\xff", b"--")):
                    yield from self._read_single_image(start)
                    return
                piece = start
            for content in self._select(splitter.feed(piece)):
                if self._stop_requested.is_set():
                    return
                if (frame := self._decode(content, index)) is not None:
                    yield frame
                    index += 1
            if index == 0 and splitter.skipped_bytes > _MAX_SKIPPED_BYTES:
                break
        if self._stop_requested.is_set():
            return
        if index == 0 and not self.unreadable_count:
            raise InputError(f"{_NAME}: standard input contains no complete image; {_HINT}")
        if splitter.is_inside_image:
            LOG.warning("%s: the last image of the stream is incomplete; it is skipped", _NAME)

    def _read_pieces(self) -> Iterator[bytes]:
        """Yield the data as it arrives, until its end or until `stop` is called."""
        while not self._stop_requested.is_set():
            try:
                if not select.select([self._descriptor], [], [], _POLL_S)[0]:
                    continue
                piece = os.read(self._descriptor, _READ_BYTES)
            except OSError as error:
                raise InputError(f"{_NAME}: standard input cannot be read: {error.strerror}") from None
            if not piece:
                return
            yield piece

    def _read_single_image(self, start: bytes) -> Iterator[Frame]:
        """Read data that is not JPEG to its end and decode it as one image."""
        if start.startswith(_H264_STARTS):
            raise InputError(f"{_NAME}: standard input is H.264, which is not supported; {_HINT}")
        content = bytearray(start)
        for piece in self._read_pieces():
            content += piece
            if len(content) > MAX_IMAGE_BYTES:
                raise InputError(
                    f"{_NAME}: standard input is not an image of at most {MAX_IMAGE_BYTES >> 20} MiB; {_HINT}"
                )
        if not self._stop_requested.is_set():
            yield Frame(decode_image(content, _NAME), _NAME, 0, captured_ns=monotonic_ns())

    def _select(self, images: list[bytes]) -> list[bytes]:
        """Return the images to decode: of a live stream, only the newest one."""
        return images[-1:] if self.live else images

    def _decode(self, content: bytes, index: int) -> Frame | None:
        now = monotonic_ns()
        try:
            return Frame(decode_image(content, _NAME), _NAME, index, now, captured_ns=now)
        except InputError as error:
            self.unreadable_count += 1
            LOG.error("%s", error)
            return None
