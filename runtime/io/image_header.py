"""Format, size and number of frames of an image file, read from its header without decoding the image."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from mmap import mmap
from typing import NamedTuple

Content = bytes | mmap

_MAX_FRAMES = 1 << 20


class ImageHeader(NamedTuple):
    """Header of an image file.

    Attributes:
        kind: Name of the format, such as `JPEG`.
        width: Width of the largest frame in pixels.
        height: Height of the largest frame in pixels.
        frame_count: Number of frames or pages, at least 1. For JPEG, 2 means motion JPEG with any number of frames.
        page_indices: Indices of the pages that are not reduced copies of another page. TIFF only.
        is_complete: False if the file ends before the image does. JPEG only: in other formats
            OpenCV itself reports incomplete files.
    """

    kind: str
    width: int
    height: int
    frame_count: int = 1
    page_indices: tuple[int, ...] = ()
    is_complete: bool = True


def detect_image_kind(start: bytes) -> str | None:
    """Return the name of the image format of a file from its first 32 bytes, or None if the format is unknown."""
    for magic, kind in _KIND_BY_MAGIC:
        if start.startswith(magic):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[4:8] == b"ftyp":
        brands = [start[8:12], *(start[i : i + 4] for i in range(16, len(start) - 3, 4))]
        return next((_KIND_BY_BRAND[brand] for brand in brands if brand in _KIND_BY_BRAND), None)
    if re.match(rb"P[1-7Ff][\s#]", start):
        return "PNM"
    if start[:2] == b"BM" and start[14:18] in _BMP_HEADER_SIZES:
        return "BMP"
    return None


def read_header(content: Content) -> ImageHeader | None:
    """Read the header of an image file.

    Args:
        content: The whole file, bytes or a memory map. Only a few bytes are read for most formats.

    Returns:
        The header, or None if the format is unknown.

    Raises:
        ValueError: The format is known, but the header is cut off or damaged.
    """
    kind = detect_image_kind(content[:32])
    if kind is None:
        return None
    try:
        header = _READERS[kind](content)
    except (struct.error, IndexError, KeyError, OverflowError):
        raise ValueError(f"the {kind} header is cut off or damaged") from None
    if header.width < 1 or header.height < 1:
        raise ValueError(f"the {kind} header gives a size of {header.width}x{header.height}")
    return header


def _read_png(content: Content) -> ImageHeader:
    width, height = struct.unpack(">II", content[16:24])
    position, frames = 8, 1
    while position + 8 <= len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        if length > len(content):
            # OpenCV allocates the length in the chunk header: gigabytes for a damaged file of a few bytes.
            raise ValueError(f"the PNG file is damaged: a chunk of {length} bytes in a file of {len(content)}")
        if name == b"acTL":
            (frames,) = struct.unpack(">I", content[position + 8 : position + 12])
        if name == b"IEND":
            break
        position += 12 + length
    return ImageHeader("PNG", width, height, _limit_frames(frames))


def _read_jpeg(content: Content) -> ImageHeader:
    width, height, multi_image = 0, 0, False
    position = 2
    while not width:
        if content[position] != 0xFF:
            raise IndexError
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        if marker in (0xD9, 0xDA):
            raise IndexError
        (length,) = struct.unpack(">H", content[position + 2 : position + 4])
        multi_image |= marker == 0xE2 and content[position + 4 : position + 8] == b"MPF\0"
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[position + 5 : position + 9])
            break
        position += 2 + length
    frames = 1
    # Concatenated JPEG images of one size are motion JPEG. A multi-picture file (MPF) is one photo with previews.
    next_position = -1 if multi_image else content.find(b"\xff\xd9\xff\xd8\xff", position)
    if next_position >= 0:
        try:
            second = _read_jpeg(content[next_position + 2 : next_position + 2 + (1 << 16)])
        except (struct.error, IndexError):
            second = ImageHeader("JPEG", 0, 0)
        frames = 2 if (second.width, second.height) == (width, height) else 1
    # Thumbnails are before the frame header, so an end marker after it belongs to the image itself.
    return ImageHeader("JPEG", width, height, frames, is_complete=content.rfind(b"\xff\xd9") > position)


def _read_gif(content: Content) -> ImageHeader:
    width, height, flags = struct.unpack("<HHB", content[6:11])
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frames = 0
    try:
        while content[position] != 0x3B and frames < _MAX_FRAMES:
            if content[position] == 0x2C:
                frames += 1
                left, top, w, h, flags = struct.unpack("<HHHHB", content[position + 1 : position + 10])
                width, height = max(width, left + w), max(height, top + h)
                position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
            else:
                position += 2
            while length := content[position]:
                position += 1 + length
            position += 1
    except (IndexError, struct.error):
        pass  # The file is cut off; the frames before the end can be decoded.
    return ImageHeader("GIF", width, height, max(1, frames))


def _read_bmp(content: Content) -> ImageHeader:
    if content[14:18] == b"\x0c\0\0\0":
        width, height = struct.unpack("<HH", content[18:22])
    else:
        width, height = struct.unpack("<ii", content[18:26])
    return ImageHeader("BMP", width, abs(height))


def _read_webp(content: Content) -> ImageHeader:
    kind = content[12:16]
    if kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack("<HH", content[26:30]))
        return ImageHeader("WebP", width, height)
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", content[21:25])
        return ImageHeader("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind != b"VP8X":
        raise IndexError
    flags = content[20]
    width = int.from_bytes(content[24:27], "little") + 1
    height = int.from_bytes(content[27:30], "little") + 1
    frames, position = 0, 12
    while flags & 2 and position + 8 <= len(content):
        name, length = struct.unpack("<4sI", content[position : position + 8])
        frames += name == b"ANMF"
        position += 8 + length + (length & 1)
    return ImageHeader("WebP", width, height, max(1, frames))


def _read_tiff(content: Content) -> ImageHeader:
    order = "<" if content[:2] == b"II" else ">"
    big = struct.unpack(f"{order}H", content[2:4])[0] == 43
    offset_format, count_format, entry_size = ("Q", "Q", 20) if big else ("I", "H", 12)
    offset_size, count_size, start = (
        struct.calcsize(offset_format),
        struct.calcsize(f"={count_format}"),
        8 if big else 4,
    )

    def read(form: str, position: int) -> int:
        size = struct.calcsize(f"={form}")
        return int(struct.unpack(order + form, content[position : position + size])[0])

    width = height = number = 0
    pages = []
    position, visited = read(offset_format, start), set[int]()
    while position and position not in visited and len(visited) < _MAX_FRAMES:
        visited.add(position)
        try:
            entries = read(count_format, position)
            tags = {}
            for entry in range(position + count_size, position + count_size + entries * entry_size, entry_size):
                tag, kind = read("H", entry), read("H", entry + 2)
                if tag in (254, 256, 257):
                    form = {3: "H", 4: "I", 16: "Q"}.get(kind, "I")
                    tags[tag] = read(form, entry + entry_size - offset_size)
            next_position = read(offset_format, position + count_size + entries * entry_size)
        except struct.error:
            if number:
                break
            raise
        width, height = max(width, tags.get(256, 0)), max(height, tags.get(257, 0))
        if not tags.get(254, 0) & 1:
            pages.append(number)
        number, position = number + 1, next_position
    pages = pages or [0]
    return ImageHeader("TIFF", width, height, len(pages), tuple(pages))


def _read_pnm(content: Content) -> ImageHeader:
    start = content[:65536]
    if start[:2] == b"P7":
        found = dict(re.findall(rb"^(WIDTH|HEIGHT)[ \t]+(\d{1,10})", start, re.MULTILINE))
        return ImageHeader("PNM", int(found[b"WIDTH"]), int(found[b"HEIGHT"]))
    matched = re.match(rb"P[1-6Ff](?:\s|#[^\n]*\n)+(\d{1,10})(?:\s|#[^\n]*\n)+(\d{1,10})", start)
    if matched is None:
        raise IndexError
    return ImageHeader("PNM", int(matched[1]), int(matched[2]))


def _read_heif(content: Content) -> ImageHeader:
    kind = detect_image_kind(content[:32]) or "AVIF"
    width = height = 0
    for position in _find_all(content, b"ispe"):
        w, h = struct.unpack(">II", content[position + 8 : position + 16])
        width, height = (w, h) if w * h > width * height else (width, height)
    frames = 1
    if content[8:12] == b"avis" and (position := content.find(b"stsz")) >= 0:
        (frames,) = struct.unpack(">I", content[position + 12 : position + 16])
    return ImageHeader(kind, width, height, _limit_frames(frames))


def _read_jpeg2000(content: Content) -> ImageHeader:
    if content[:4] == b"\xff\x4f\xff\x51":
        right, bottom, left, top = struct.unpack(">IIII", content[8:24])
        return ImageHeader("JPEG 2000", right - left, bottom - top)
    position = content.find(b"ihdr")
    if position < 0:
        raise IndexError
    height, width = struct.unpack(">II", content[position + 4 : position + 12])
    codestream = content.find(b"\xff\x4f\xff\x51", position)
    if codestream >= 0:  # The decoder allocates the size in the codestream, which can differ from the header.
        inner = _read_jpeg2000(content[codestream : codestream + 64])
        width, height = max(width, inner.width), max(height, inner.height)
    return ImageHeader("JPEG 2000", width, height)


def _read_hdr(content: Content) -> ImageHeader:
    matched = re.search(rb"^[-+]Y (\d{1,10}) [-+]X (\d{1,10})", content[:65536], re.MULTILINE)
    if matched is None:
        raise IndexError
    return ImageHeader("Radiance HDR", int(matched[2]), int(matched[1]))


def _read_sun(content: Content) -> ImageHeader:
    return ImageHeader("Sun raster", *struct.unpack(">II", content[4:12]))


def _read_exr(content: Content) -> ImageHeader:
    position = content.find(b"dataWindow\0box2i\0")
    if position < 0:
        raise IndexError
    left, top, right, bottom = struct.unpack("<iiii", content[position + 21 : position + 37])
    return ImageHeader("OpenEXR", right - left + 1, bottom - top + 1)


def _find_all(content: Content, text: bytes) -> Iterator[int]:
    position = content.find(text)
    for _ in range(4096):
        if position < 0:
            return
        yield position
        position = content.find(text, position + 1)


def _limit_frames(frames: int) -> int:
    return min(max(1, frames), _MAX_FRAMES)


_KIND_BY_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
)
_KIND_BY_BRAND = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC"}
_BMP_HEADER_SIZES = tuple(struct.pack("<I", size) for size in (12, 16, 40, 52, 56, 64, 108, 124))
_READERS: dict[str, Callable[[Content], ImageHeader]] = {
    "PNG": _read_png,
    "JPEG": _read_jpeg,
    "GIF": _read_gif,
    "BMP": _read_bmp,
    "WebP": _read_webp,
    "TIFF": _read_tiff,
    "PNM": _read_pnm,
    "AVIF": _read_heif,
    "HEIC": _read_heif,
    "JPEG 2000": _read_jpeg2000,
    "Radiance HDR": _read_hdr,
    "Sun raster": _read_sun,
    "OpenEXR": _read_exr,
}
