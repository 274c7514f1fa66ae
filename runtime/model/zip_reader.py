"""The ZIP at the end of a model file, read strictly: nothing before, between or after its members but the network.

`zipfile` looks for a ZIP anywhere in a file. Here the place of the ZIP decides which bytes are the network, so its
members must follow each other without gaps, and the file must end where the ZIP ends.
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
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8
_DESCRIPTOR, _ENCRYPTED = 1 << 3, 1 << 0


class NoContainerError(ValueError):
    """The file has no ZIP at its end."""


class Container(NamedTuple):
    """Where the ZIP begins, and the wanted member's content."""

    offset: int
    content: bytes


class _Member(NamedTuple):
    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def read(handle: int, size: int, wanted: str, limit: int) -> Container:
    """Read one member of the ZIP at the end of an open file of `size` bytes.

    Args:
        handle: The file's descriptor.
        size: Its length in bytes.
        wanted: The member's name.
        limit: The largest size, unpacked, that is accepted for it.

    Raises:
        NoContainerError: There is no ZIP, or it does not have the member.
        ValueError: The ZIP is damaged, or is not all that follows the network.
    """
    members, directory = _members(handle, size)
    end = 0
    found: bytes | None = None
    for position, member in enumerate(sorted(members, key=lambda one: one.offset)):
        if position and member.offset != end:
            raise ValueError("there are gaps or overlaps between the members of its ZIP")
        header = _exactly(handle, _LOCAL.size, member.offset)
        magic, _, flags, method, _, _, crc, packed, unpacked, name_bytes, extra_bytes = _LOCAL.unpack(header)
        name = _exactly(handle, name_bytes, member.offset + _LOCAL.size)
        if (magic, flags, method, crc, packed, unpacked, name) != (b"PK\3\4", *_fields(member)):
            raise ValueError("the directory of its ZIP contradicts the members")
        start = member.offset + _LOCAL.size + name_bytes + extra_bytes
        end = start + member.packed
        if end > directory:
            raise ValueError("a member of its ZIP is larger than the file")
        if member.name == wanted.encode():
            found = _unpacked(_exactly(handle, member.packed, start) if member.packed <= limit else b"", member, limit)
    if end != directory:
        raise ValueError("there are bytes between the members of its ZIP and their directory")
    if found is None:
        raise NoContainerError(f"no {wanted}")
    return Container(min(member.offset for member in members), found)


def _members(handle: int, size: int) -> tuple[list[_Member], int]:
    """The members, and where their directory begins."""
    if size < _END.size:
        raise NoContainerError("no ZIP")
    end = size - _END.size
    magic, disk, start_disk, here, count, length, directory, comment = _END.unpack(_exactly(handle, _END.size, end))
    if magic != b"PK\5\6":
        tail = _exactly(handle, min(size, _END.size + 0xFFFF), max(0, end - 0xFFFF))
        if b"PK\5\6" in tail:
            raise ValueError("there are bytes after its ZIP, or the ZIP has a comment")
        raise NoContainerError("no ZIP")
    if comment or disk or start_disk or here != count or directory + length != end:
        raise ValueError("its ZIP does not end where the file ends")
    if not 1 <= count <= MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise ValueError(f"its ZIP has {count} members in {length} bytes; expected 1 to {MAX_MEMBERS}")
    content = _exactly(handle, length, directory)
    members, place = [], 0
    for _ in range(count):
        if place + _ENTRY.size > length:
            raise ValueError("the directory of its ZIP is truncated")
        fields = _ENTRY.unpack_from(content, place)
        magic, _, _, flags, method, _, _, crc, packed, unpacked, name, extra, remark, _, _, _, offset = fields
        if magic != b"PK\1\2" or flags & (_DESCRIPTOR | _ENCRYPTED) or method not in (_STORED, _DEFLATED):
            raise ValueError("its ZIP has a member that is encrypted or packed in an unknown way")
        place += _ENTRY.size
        members.append(_Member(content[place : place + name], flags, method, crc, packed, unpacked, offset))
        place += name + extra + remark
    if place != length or len({member.name for member in members}) != count:
        raise ValueError("the directory of its ZIP is damaged")
    return members, directory


def _fields(member: _Member) -> tuple[int, int, int, int, int, bytes]:
    return member.flags, member.method, member.crc, member.packed, member.size, member.name


def _unpacked(content: bytes, member: _Member, limit: int) -> bytes:
    if member.size > limit or member.packed > limit:
        raise ValueError(f"{member.name.decode(errors='replace')} is larger than {limit} bytes")
    if member.method == _DEFLATED:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, limit + 1)
        except zlib.error as error:
            raise ValueError(f"damaged: {error}") from None
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise ValueError("damaged: wrong length or checksum")
    return content


def _exactly(handle: int, length: int, offset: int) -> bytes:
    content = os.pread(handle, length, offset)
    if len(content) != length:
        raise ValueError("its ZIP is truncated")
    return content
