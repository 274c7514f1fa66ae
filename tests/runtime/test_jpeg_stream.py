"""Splitting of streams of JPEG images, in pieces of any size and with damaged data."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.runtime.io import jpeg_stream
from edgepose.runtime.io.jpeg_stream import JpegSplitter

pytestmark = pytest.mark.once


def make_jpeg(seed: int, *, progressive: bool = False, restart: int = 0, thumbnail: bytes = b"") -> bytes:
    image = np.random.default_rng(seed).integers(0, 255, (24, 40, 3), np.uint8)
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    content = cv2.imencode(".jpg", image, flags)[1].tobytes()
    application = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail if thumbnail else b""
    return content[:2] + application + content[2:]


IMAGES = [
    make_jpeg(0),
    make_jpeg(1, progressive=True),
    make_jpeg(2, restart=1),
    make_jpeg(3, thumbnail=make_jpeg(4)),
    make_jpeg(5),
]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.integers(1, 3000),
    st.sampled_from([b"", b"\r\n--frame\r\n\r\n"]),
)
def test_images_come_out_as_they_went_in(numbers: list[int], step: int, between: bytes) -> None:
    stream = b"".join(between + IMAGES[number] for number in numbers)
    splitter, found = JpegSplitter(), []
    for start in range(0, len(stream), step):
        found += splitter.feed(stream[start : start + step])
    assert found == [IMAGES[number] for number in numbers]
    assert not splitter.is_inside_image
    assert splitter.skipped_bytes == len(between) * len(numbers)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 2000))
def test_damaged_data_does_not_lose_the_images_after_it(garbage: bytes, cut: int) -> None:
    splitter = JpegSplitter()
    found = splitter.feed(IMAGES[0][:cut] + garbage)
    for _ in range(3):
        found += splitter.feed(IMAGES[4])
    assert IMAGES[4] in found or splitter.is_inside_image, "unless the damaged part announces a long segment"


def test_a_stream_without_images_uses_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg_stream, "MAX_IMAGE_BYTES", 10_000)
    splitter = JpegSplitter()
    for _ in range(100):
        assert splitter.feed(b"\x00" * 1000) == []
    assert len(splitter._content) < 10
    for _ in range(100):
        splitter.feed(b"\xff\xd8\xff\xda\x00\x02" + b"\x00" * 1000)
    assert len(splitter._content) <= 20_000
    assert splitter.feed(IMAGES[0] * 20)


def test_data_made_to_look_like_many_images_is_searched_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each segment contains the start of an image that consists of all segments after it."""
    find_marker, calls = JpegSplitter._find_marker, []
    monkeypatch.setattr(JpegSplitter, "_find_marker", lambda splitter: calls.append(1) or find_marker(splitter))
    segments = 300
    splitter = JpegSplitter()
    assert splitter.feed(b"\xff\xd8" + b"\xff\xe0\x00\x04\xff\xd8" * segments + bytes(20)) == []
    assert len(calls) < 30 * segments
    assert splitter.feed(IMAGES[0] + IMAGES[4]) == [IMAGES[0], IMAGES[4]]


def test_many_fill_bytes_are_skipped() -> None:
    fill = b"\xff" * 100_000
    image = IMAGES[0][:2] + fill + IMAGES[0][2:]
    splitter = JpegSplitter()
    assert splitter.feed(image[:50_000]) + splitter.feed(image[50_000:]) == [image]
