"""Splitting of a stream of concatenated JPEG images (motion JPEG) into images."""

from __future__ import annotations

import re

MAX_IMAGE_BYTES = 32 << 20
"""A longer image is not accepted."""
_START = b"\xff\xd8\xff"
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The next marker in compressed data: not a stuffed byte and not a restart marker."""
_FILL = re.compile(rb"\xff+(?=\xff)")
_EOI, _SOS = 0xD9, 0xDA
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_MAX_DAMAGED_STARTS = 16
"""Number of damaged images in a row that are searched for the start of the next image. After more, all data up to the
damage is skipped: data made for it would be searched again from each of its bytes."""


class JpegSplitter:
    """Splitter of a stream of JPEG images that arrives in pieces.

    It follows the segments of an image, so that the thumbnail inside an image is not taken for an image. Bytes between
    the images, such as the boundaries of a multipart stream, are skipped.
    """

    def __init__(self) -> None:
        self._content = bytearray()
        self._position = 0
        """Position of the next marker; 0 if no image has begun."""
        self._in_scan = False
        self._damaged_count = 0
        self.skipped_bytes = 0
        """Number of bytes that belong to no complete image."""

    def feed(self, piece: bytes) -> list[bytes]:
        """Append a piece of the stream.

        Returns:
            The images that are complete now, in order.
        """
        self._content += piece
        images = []
        while (end := self._find_end()) is not None:
            images.append(bytes(self._content[:end]))
            self._damaged_count = 0
            self._drop(end)
        return images

    @property
    def is_inside_image(self) -> bool:
        """True if an image has begun and is not complete."""
        return self._position > 0

    def _find_end(self) -> int | None:
        """Return the length of the image at the start of the content; None if it is not complete."""
        while self._position or self._find_start():
            marker = self._find_marker()
            if marker is None:
                return None
            if marker == _EOI:
                return self._position + 2
            if marker < 0:
                self._skip_image()
            elif marker in _WITHOUT_LENGTH:
                self._position += 2
            else:
                length = int.from_bytes(self._content[self._position + 2 : self._position + 4], "big")
                if len(self._content) < self._position + 4:
                    return None
                self._position += 2 + max(2, length)
                self._in_scan = marker == _SOS
        return None

    def _find_start(self) -> bool:
        """Drop everything before the next image; return False if none begins in the content."""
        start = self._content.find(_START)
        if start < 0:
            skipped = max(0, len(self._content) - len(_START) + 1)
            self.skipped_bytes += skipped
            del self._content[:skipped]
            return False
        self.skipped_bytes += start
        del self._content[:start]
        self._position, self._in_scan = 2, False
        return True

    def _find_marker(self) -> int | None:
        """Return the marker at or after the position; None if it has not arrived, -1 if the image is damaged."""
        if self._position > MAX_IMAGE_BYTES or len(self._content) > 2 * MAX_IMAGE_BYTES:
            return -1
        if self._in_scan:
            found = _END_OF_SCAN.search(self._content, self._position)
            if found is None:
                # The last byte may be the first one of a marker.
                self._position = max(self._position, len(self._content) - 1)
                return None
            self._position = found.start()
            self._in_scan = False
        content = self._content
        if fill := _FILL.match(content, self._position):
            self._position = fill.end()
        position = self._position
        if position + 1 >= len(content):
            return None
        if content[position] != 0xFF or content[position + 1] in (0x00, 0xD8):
            return -1
        return content[position + 1]

    def _skip_image(self) -> None:
        """Give up the image at the start of the content: look for the next one."""
        self._damaged_count += 1
        count = len(_START)
        if self._damaged_count > _MAX_DAMAGED_STARTS:
            self._damaged_count = 0
            count = max(count, min(self._position, len(self._content)))
        self.skipped_bytes += count
        self._drop(count)

    def _drop(self, count: int) -> None:
        del self._content[:count]
        self._position, self._in_scan = 0, False
