"""Image size and number of frames are read from the header before an image is decoded."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.runtime import InputError
from edgepose.runtime.io.image_header import detect_image_kind, read_header
from edgepose.runtime.io.images import decode_image, inspect_file, list_images, read_frames, read_image

SUFFIXES = ("png", "jpg", "bmp", "webp", "tiff", "ppm", "pam", "gif", "avif", "jp2", "hdr", "sr", "pfm")


def encode(suffix: str, width: int, height: int) -> bytes:
    image = np.full((height, width, 3), 90, np.uint8)
    image[:, : width // 2] = 200
    content = image.astype(np.float32) if suffix in ("hdr", "pfm") else image
    try:
        ok, encoded = cv2.imencode(f".{suffix}", content)
    except cv2.error:
        ok = False
    if not ok:
        pytest.skip(f"this OpenCV does not write {suffix}")
    return encoded.tobytes()


def make_png(width: int, height: int) -> bytes:
    """Return a PNG with this size in its header but only a few bytes of content."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [(64, 48), (37, 91), (301, 17)])
def test_the_header_has_the_size_that_opencv_decodes(suffix: str, size: tuple[int, int]) -> None:
    header = read_header(encode(suffix, *size))
    assert header is not None
    assert (header.width, header.height, header.frame_count) == (*size, 1)


@pytest.mark.parametrize("options", [
    [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2], [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
])  # fmt: skip
def test_jpeg_variants(options: list[int]) -> None:
    _, encoded = cv2.imencode(".jpg", np.zeros((50, 70, 3), np.uint8), options)
    assert read_header(encoded.tobytes())[1:3] == (70, 50)  # type: ignore[index]


def test_lossy_and_lossless_webp_and_old_bmp() -> None:
    for quality in (50, 101):
        _, encoded = cv2.imencode(".webp", np.zeros((50, 70, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, quality])
        assert read_header(encoded.tobytes())[1:3] == (70, 50)  # type: ignore[index]
    old = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 70, 50, 1, 24)
    assert read_header(old)[1:3] == (70, 50)  # type: ignore[index]
    top_down = b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 70, -50, 1, 24)
    assert read_header(top_down)[1:3] == (70, 50)  # type: ignore[index]


def test_the_thumbnail_in_a_jpeg_is_ignored() -> None:
    thumbnail, image = encode("jpg", 16, 12), encode("jpg", 320, 240)
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 8) + b"Exif\0\0" + thumbnail
    header = read_header(image[:2] + segment + image[2:])
    assert header is not None
    assert (header.width, header.height, header.frame_count) == (320, 240, 1)


def test_a_preview_behind_a_jpeg_is_not_a_second_frame() -> None:
    header = read_header(encode("jpg", 320, 240) + encode("jpg", 160, 120))
    assert header is not None
    assert header.frame_count == 1


def test_other_files_have_no_image_header() -> None:
    for content in (b"text", b"", b"\0" * 64, b"P1an of the house", b"BM", b"RIFF\0\0\0\0AVI LIST", b"\0\0\0 ftypisom"):
        assert detect_image_kind(content[:32]) is None
        assert read_header(content) is None


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["png", "jpg", "bmp", "webp", "tiff", "ppm", "gif", "jp2", "avif"]), st.data())
def test_damaged_headers_are_a_value_error_and_nothing_else(suffix: str, data: st.DataObject) -> None:
    content = bytearray(encode(suffix, 24, 18))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(4, min(len(content) - 1, 200)))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(8, len(content))) :]
    try:
        header = read_header(bytes(content))
    except ValueError:
        return
    assert header is None or (header.width > 0 and header.height > 0 and header.frame_count > 0)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tiff", "ppm", "gif", "avif", "jp2", "sr", "pam"])
def test_every_format_is_refused_by_its_header(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"large.{suffix}"
    path.write_bytes(encode(suffix, 320, 240))
    assert read_image(path, 320 * 240).shape == (240, 320, 3)
    with pytest.raises(InputError, match=r"320x240 pixels is more than the limit of 76799 pixels"):
        read_image(path, 320 * 240 - 1)
    with pytest.raises(InputError, match="320x240"):
        list(read_frames(path, 320 * 240 - 1))


def test_received_images_have_the_limit_too() -> None:
    content = encode("jpg", 320, 240)
    assert decode_image(content, "camera", 320 * 240).shape == (240, 320, 3)
    for damaged, words in ((b"", "0 bytes"), (b"<html>", "6 bytes"), (content[:20], "header is cut off")):
        with pytest.raises(InputError, match=f"camera: .*{words}"):
            decode_image(damaged, "camera")
    with pytest.raises(InputError, match="camera: 320x240 pixels is more than the limit"):
        decode_image(bytearray(content), "camera", 1000)


def test_the_limit_is_in_force_though_opencv_was_imported_before(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(make_png(9000, 8000))  # 72 megapixels
    script = (
        "import cv2, resource\nfrom pathlib import Path\nfrom edgepose.runtime.io.images import read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"try:\n    read_image(Path({str(path)!r}))\nexcept Exception as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "9000x8000 pixels is more than the limit" in done.stdout
    assert done.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize("module", ["runtime.estimator", "runtime.cli.run", "convert.quantize.calibration_images"])
def test_the_limit_of_opencv_is_in_force_in_every_command(module: str) -> None:
    script = (
        f"import edgepose.{module}, cv2, numpy as np, sys\n"
        "content = np.frombuffer(sys.stdin.buffer.read(), np.uint8)\n"
        "try:\n    cv2.imdecode(content, 1)\nexcept cv2.error as error:\n    print('MAX_IMAGE_PIXELS' in str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=make_png(20_000, 20_000), capture_output=True, check=True
    )
    assert done.stdout == b"True\n"


def images(count: int = 5) -> list[np.ndarray]:
    return [np.full((48, 64, 3), 40 * index, np.uint8) for index in range(count)]


def write_animation(path: Path) -> None:
    if not hasattr(cv2, "imdecodeanimation"):
        pytest.skip("this OpenCV does not write animations")
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(image, cv2.COLOR_BGR2BGRA) for image in images()]
    animation.durations = np.array([100, 200, 100, 50, 100], np.int32)
    if not cv2.imwriteanimation(str(path), animation):
        pytest.skip(f"this OpenCV does not write {path.suffix}")


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
@pytest.mark.parametrize("name", ["x", "x%d", "x.jpg"])
def test_an_animation_has_all_its_frames_with_their_times(suffix: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / f"written.{suffix}"
    write_animation(path)
    path = path.rename(tmp_path / (name if name.endswith(".jpg") else f"{name}.{suffix}"))
    assert inspect_file(path) == "animation"
    frames = list(read_frames(path))
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.timestamp_ns // 1_000_000 for frame in frames] == pytest.approx([0, 100, 300, 400, 450], abs=1)
    if suffix in ("webp", "png"):  # lossless
        assert [int(frame.image[20, 20, 0]) for frame in frames] == pytest.approx([0, 40, 80, 120, 160], abs=4)
    assert read_image(path).shape == (48, 64, 3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_an_older_opencv_gives_all_frames_or_an_error(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x.{suffix}"
    write_animation(path)
    for name in ("imdecodeanimation", "imdecodemulti"):  # since 4.11 and 4.7
        monkeypatch.delattr(cv2, name)
    monkeypatch.setattr(cv2, "imreadmulti", lambda *_, **__: (False, ()))
    if suffix in ("gif", "png"):
        assert len(list(read_frames(path))) == 5
    else:
        with pytest.raises(InputError, match="0 of 5 frames can be decoded"):
            list(read_frames(path))


def test_an_animation_is_decoded_a_few_frames_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.webp"
    write_animation(path)
    frames = list(read_frames(path, 64 * 48 * 2))
    assert [frame.timestamp_ns for frame in frames] == [0, 100_000_000, 300_000_000, 400_000_000, 450_000_000]
    assert [int(frame.image[20, 20, 0]) for frame in frames] == pytest.approx([0, 40, 80, 120, 160], abs=4)


@pytest.mark.parametrize("name", ["scan.tiff", "scan.bin"])
def test_a_tiff_has_all_its_pages(name: str, tmp_path: Path) -> None:
    pages = images()
    pages[2] = np.full((30, 20, 3), 80, np.uint8)
    cv2.imwritemulti(str(tmp_path / "scan.tiff"), pages)
    path = (tmp_path / "scan.tiff").rename(tmp_path / name)
    assert inspect_file(path) == "pages"
    frames = list(read_frames(path))
    assert [int(frame.image[10, 10, 0]) for frame in frames] == [0, 40, 80, 120, 160]
    assert [(frame.index, frame.timestamp_ns) for frame in frames] == [(index, 0) for index in range(5)]
    assert frames[2].image.shape == (30, 20, 3)
    with pytest.raises(InputError, match="limit"):
        list(read_frames(path, 2000))


def test_concatenated_jpegs_are_a_video(tmp_path: Path) -> None:
    for name in ("x.mjpeg", "x.jpg", "x%d.jpg", "x"):
        path = tmp_path / name
        path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in images()))
        assert inspect_file(path) == "video"
        frames = list(read_frames(path))
        assert [int(frame.image[10, 10, 0]) for frame in frames] == pytest.approx([0, 40, 80, 120, 160], abs=3)


def test_images_are_found_by_suffix_or_content_and_hidden_files_skipped(tmp_path: Path) -> None:
    for name in ("a.jfif", "b.jpe", "c.jpg", "no suffix", "._c.jpg", ".DS_Store", "d.DAT"):
        (tmp_path / name).write_bytes(encode("jpg", 16, 12) if not name.startswith(".") else b"\0\x05\x16\x07")
    (tmp_path / "e.avif").write_bytes(encode("avif", 16, 12))
    (tmp_path / "f.jp2").write_bytes(encode("jp2", 64, 48))
    (tmp_path / "notes.txt").write_text("text")
    names = [path.name for path in list_images(tmp_path)]
    assert names == ["a.jfif", "b.jpe", "c.jpg", "d.DAT", "e.avif", "f.jp2", "no suffix"]
    for path in list_images(tmp_path):
        assert read_image(path).shape[2] == 3


def test_a_png_chunk_that_is_longer_than_the_file_is_refused() -> None:
    """Regression test (found by `make fuzz`): OpenCV cleared gigabytes of memory for ten seconds."""
    good = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    at = good.index(b"IDAT")
    with pytest.raises(ValueError, match="a chunk of 2130706432 bytes"):
        read_header(good[: at - 4] + b"\x7f\0\0\0" + good[at:])
