"""How long a video file should be by its container, to tell one that is cut off.

Frames are not counted for this: the number that OpenCV reports is an estimate in many containers, up to 80 times too
large in WMV and MPEG-TS, and frames that an edit list hides or a recorder dropped are missing from good files too. The
sizes in the container are exact.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_MAX_BOXES = 1_000_000
_MAX_FLV_TAGS = 10_000_000
_BOXES = (
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"wide", b"uuid", b"meta", b"sidx", b"ssix",
    b"prft", b"emsg", b"pdin", b"udta",
)  # fmt: skip
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_SEARCH_BYTES = 1 << 16


def find_missing_bytes(path: Path) -> int:
    """Return how many bytes of a video are missing at its end by the sizes in its container.

    AVI, MP4, MOV, 3GP, Matroska, WebM, FLV, ASF and WMV give such sizes.

    Returns:
        0 if the file is whole, or its container does not say.
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
    if start[4:8] in _BOXES:
        return _find_box_end(file, size)
    return 0


def _find_riff_end(file: BinaryIO, size: int) -> int:
    """A large AVI has several RIFF chunks, one behind the other."""
    position: int = 0
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        # A recorder that was interrupted has not written the length.
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
        # 0: up to the end of the file. Other names: something else is appended.
        if name not in _BOXES or length < head:
            break
        position += length
    return position


def _find_flv_end(file: BinaryIO, size: int) -> int:
    """Where the last tag ends."""
    file.seek(5)
    position = int(struct.unpack(">I", file.read(4))[0])
    for _ in range(_MAX_FLV_TAGS):
        position += 4  # the length of the tag before
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
    """A length of EBML; None if it is the value for an unknown one, as of live streams."""
    first = file.read(1)[0]
    more = 8 - first.bit_length()
    if more > 7:
        return None
    value = int.from_bytes(bytes([first & (0x7F >> more)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def _find_asf_end(file: BinaryIO) -> int:
    file.seek(0)
    head = file.read(_ASF_SEARCH_BYTES)
    position = head.find(_ASF_FILE_PROPERTIES)
    if position < 0:
        return 0
    (size,) = struct.unpack("<Q", head[position + 40 : position + 48])
    (flags,) = struct.unpack("<I", head[position + 88 : position + 92])
    return 0 if flags & 1 else int(size)  # 1: a broadcast, whose size is not valid
