"""Expected length of a video file according to its container, to detect files that are cut off.

The number of frames is not used, because it is not reliable. OpenCV estimates it for many containers: it is up to 80
times too large for WMV and MPEG-TS. Complete files may also have fewer frames than their header says, because an edit
list hides frames or the recorder dropped them. The sizes in the container are exact.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_MAX_BOXES = 1_000_000
_MAX_FLV_TAGS = 10_000_000
_TOP_LEVEL_BOXES = (
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"wide", b"uuid", b"meta", b"sidx", b"ssix",
    b"prft", b"emsg", b"pdin", b"udta",
)  # fmt: skip
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_SEARCH_BYTES = 1 << 16


def find_missing_bytes(path: Path) -> int:
    """Return the number of bytes missing at the end of a video, according to the sizes in its container.

    Supported containers: AVI, MP4, MOV, 3GP, Matroska, WebM, FLV, ASF and WMV.

    Returns:
        Number of bytes; 0 if the file is complete, cannot be read, or its container does not store sizes.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return max(0, _find_end(file, size) - size)
    except (OSError, struct.error, IndexError):
        return 0


def _find_end(file: BinaryIO, size: int) -> int:
    start = file.read(16)
    if start[:4] == b"RIFF":
        return _find_riff_end(file, size)
    if start[:4] == _EBML:
        return _find_segment_end(file)
    if start == _ASF_HEADER:
        return _find_asf_end(file)
    if start[:4] == b"FLV\x01":
        return _find_flv_end(file, size)
    if start[4:8] in _TOP_LEVEL_BOXES:
        return _find_box_end(file, size)
    return 0


def _find_riff_end(file: BinaryIO, size: int) -> int:
    """Return the end of the last RIFF chunk; a large AVI file has several, one after another."""
    position: int = 0
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        # The length is 0 or the maximum if the recorder was interrupted before it wrote it.
        if name != b"RIFF" or length in (0, 0xFFFFFFFF):
            return position
        position += 8 + length
        if position <= size:
            position += length & 1
    return position


def _find_box_end(file: BinaryIO, size: int) -> int:
    position: int = 0
    for _ in range(_MAX_BOXES):
        if position + 8 > size:
            break
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            head = 16
        # Length 0 means up to the end of the file. After a box with another name, the data is not part of the video.
        if name not in _TOP_LEVEL_BOXES or length < head:
            break
        position += length
    return position


def _find_flv_end(file: BinaryIO, size: int) -> int:
    """Return the end of the last FLV tag."""
    file.seek(5)
    position = int(struct.unpack(">I", file.read(4))[0])
    for _ in range(_MAX_FLV_TAGS):
        position += 4  # PreviousTagSize
        if position + 11 > size:
            break
        file.seek(position)
        kind, *length = file.read(4)
        if kind & 0x1F not in (8, 9, 18):
            return 0
        position += 11 + int.from_bytes(bytes(length), "big")
        if position > size:
            return position
    return 0


def _find_segment_end(file: BinaryIO) -> int:
    file.seek(4)
    length = _read_vint(file)
    if length is None:
        return 0
    file.seek(length, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _read_vint(file)
    return 0 if length is None else file.tell() + length


def _read_vint(file: BinaryIO) -> int | None:
    """Read an EBML length; return None for the reserved value "unknown length", as in live streams."""
    first = file.read(1)[0]
    extra_bytes = 8 - first.bit_length()
    if extra_bytes > 7:
        return None
    value = int.from_bytes(bytes([first & (0x7F >> extra_bytes)]) + file.read(extra_bytes), "big")
    return None if value == (1 << 7 * (extra_bytes + 1)) - 1 else value


def _find_asf_end(file: BinaryIO) -> int:
    file.seek(0)
    head = file.read(_ASF_SEARCH_BYTES)
    position = head.find(_ASF_FILE_PROPERTIES)
    if position < 0:
        return 0
    (size,) = struct.unpack("<Q", head[position + 40 : position + 48])
    (flags,) = struct.unpack("<I", head[position + 88 : position + 92])
    return 0 if flags & 1 else int(size)  # Flag 1 marks a broadcast: the size is not valid.
