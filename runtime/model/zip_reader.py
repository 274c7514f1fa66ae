"""Strict reader of the ZIP at the end of a model file.

`zipfile` also accepts files with other data before, between and after the members of a ZIP. In a model file, the offset
of the ZIP decides which bytes are the network. Therefore the members must follow each other without gaps, and the file
must end where the ZIP ends.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import NamedTuple

MAX_DIRECTORY_BYTES = 1 << 16
MAX_MEMBERS = 16

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_HEADER = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8
_HAS_DESCRIPTOR, _IS_ENCRYPTED = 1 << 3, 1 << 0


class NoZipError(ValueError):
    """The file has no ZIP at its end, or the ZIP does not contain the member."""


class MemberContent(NamedTuple):
    """Content of a member of the ZIP.

    Attributes:
        offset: Offset in the file at which the ZIP begins.
        content: Uncompressed content of the member.
    """

    offset: int
    content: bytes


class _Member(NamedTuple):
    name: bytes
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    offset: int


def read(handle: int, size: int, wanted: str, limit: int) -> MemberContent:
    """Read one member of the ZIP at the end of an open file.

    Args:
        handle: Descriptor of the file.
        size: Size of the file in bytes.
        wanted: Name of the member.
        limit: Maximum size of the member in bytes, compressed and uncompressed.

    Raises:
        NoZipError: The file has no ZIP at its end, or the ZIP does not contain the member.
        ValueError: The ZIP is damaged, or there is other data between or after its members.
    """
    members, directory = _read_directory(handle, size)
    end = 0
    found: bytes | None = None
    for position, member in enumerate(sorted(members, key=lambda member: member.offset)):
        if position and member.offset != end:
            raise ValueError("there are gaps or overlaps between the members of its ZIP")
        header = _read_exactly(handle, _HEADER.size, member.offset)
        magic, _, flags, method, _, _, crc, packed, unpacked, name_bytes, extra_bytes = _HEADER.unpack(header)
        name = _read_exactly(handle, name_bytes, member.offset + _HEADER.size)
        if (magic, flags, method, crc, packed, unpacked, name) != (b"PK\3\4", *_get_header_fields(member)):
            raise ValueError("the directory of its ZIP contradicts the members")
        start = member.offset + _HEADER.size + name_bytes + extra_bytes
        end = start + member.packed_size
        if end > directory:
            raise ValueError("a member of its ZIP is larger than the file")
        if member.name == wanted.encode():
            packed_content = _read_exactly(handle, member.packed_size, start) if member.packed_size <= limit else b""
            found = _decompress(packed_content, member, limit)
    if end != directory:
        raise ValueError("there are bytes between the members of its ZIP and their directory")
    if found is None:
        raise NoZipError(f"no {wanted}")
    return MemberContent(min(member.offset for member in members), found)


def _read_directory(handle: int, size: int) -> tuple[list[_Member], int]:
    """Return the members of the ZIP in the order of its directory, and the offset of the directory."""
    if size < _END.size:
        raise NoZipError("no ZIP")
    end = size - _END.size
    magic, disk, start_disk, here, count, length, directory, comment = _END.unpack(
        _read_exactly(handle, _END.size, end)
    )
    if magic != b"PK\5\6":
        tail = _read_exactly(handle, min(size, _END.size + 0xFFFF), max(0, end - 0xFFFF))
        if b"PK\5\6" in tail:
            raise ValueError("there are bytes after its ZIP, or the ZIP has a comment")
        raise NoZipError("no ZIP")
    if comment or disk or start_disk or here != count or directory + length != end:
        raise ValueError("its ZIP does not end where the file ends")
    if not 1 <= count <= MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise ValueError(f"its ZIP has {count} members in {length} bytes; expected 1 to {MAX_MEMBERS}")
    content = _read_exactly(handle, length, directory)
    members, place = [], 0
    for _ in range(count):
        if place + _ENTRY.size > length:
            raise ValueError("the directory of its ZIP is truncated")
        fields = _ENTRY.unpack_from(content, place)
        magic, _, _, flags, method, _, _, crc, packed, unpacked, name, extra, remark, _, _, _, offset = fields
        if magic != b"PK\1\2" or flags & (_HAS_DESCRIPTOR | _IS_ENCRYPTED) or method not in (_STORED, _DEFLATED):
            raise ValueError("its ZIP has a member that is encrypted or uses an unknown compression method")
        place += _ENTRY.size
        members.append(_Member(content[place : place + name], flags, method, crc, packed, unpacked, offset))
        place += name + extra + remark
    if place != length or len({member.name for member in members}) != count:
        raise ValueError("the directory of its ZIP is damaged")
    return members, directory


def _get_header_fields(member: _Member) -> tuple[int, int, int, int, int, bytes]:
    return member.flags, member.method, member.crc, member.packed_size, member.size, member.name


def _decompress(content: bytes, member: _Member, limit: int) -> bytes:
    if member.size > limit or member.packed_size > limit:
        raise ValueError(f"{member.name.decode(errors='replace')} is larger than {limit} bytes")
    if member.method == _DEFLATED:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, limit + 1)
        except zlib.error as error:
            raise ValueError(f"damaged: {error}") from None
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise ValueError("damaged: wrong length or checksum")
    return content


def _read_exactly(handle: int, length: int, offset: int) -> bytes:
    content = os.pread(handle, length, offset)
    if len(content) != length:
        raise ValueError("its ZIP is truncated")
    return content
