"""Incomplete images and videos, as after an interrupted download or copy."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.runtime.errors import InputError
from edgepose.runtime.io.images import decode_image, read_frames, read_image
from edgepose.runtime.synthetic import Scene

from ..conftest import run_edgepose

pytestmark = pytest.mark.once
IMAGE = Scene(2, 320, 240).render_frame(0).image


def encode_jpeg() -> bytes:
    return cv2.imencode(".jpg", IMAGE)[1].tobytes()


def test_half_a_jpeg_is_named(tmp_path: Path) -> None:
    whole = encode_jpeg()
    half = whole[: len(whole) // 2]
    with pytest.raises(InputError, match="the JPEG is cut off"):
        decode_image(half, "camera")
    # The end of an embedded thumbnail is not the end of the image.
    thumbnail = whole[:2] + b"\xff\xe1\x00\x0a" + b"Exif\0\0\xff\xd9" + half[2:]
    with pytest.raises(InputError, match="the JPEG is cut off"):
        decode_image(thumbnail, "camera")
    (tmp_path / "a.jpg").write_bytes(half)
    (tmp_path / "b.jpg").write_bytes(whole)
    done = run_edgepose("run", tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path}/a.jpg: the JPEG is cut off; copy or download it again" in done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("after", [b"", b"\0" * 100, b"anything that a camera adds"])
def test_a_whole_jpeg_is_read_whatever_follows(after: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg() + after)
    assert read_image(tmp_path / "a.jpg").shape == IMAGE.shape


def write_video(path: Path, code: str, fps: float, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, (64, 48))
    assert writer.isOpened()
    rng = np.random.default_rng(0)
    for _ in range(frames):
        writer.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    writer.release()


@pytest.mark.parametrize(
    ("name", "code"), [("a.avi", "MJPG"), ("a.avi", "XVID"), ("a.mkv", "mp4v"), ("a.webm", "VP80"), ("a.flv", "FLV1")]
)
@pytest.mark.parametrize("fps", [1.0, 12.5, 29.97])
def test_a_video_that_is_cut_off_is_named_and_a_whole_one_is_not(
    name: str, code: str, fps: float, tmp_path: Path
) -> None:
    path = tmp_path / name
    write_video(path, code, fps, 60)
    assert sum(1 for _ in read_frames(path)) == 60
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    count = 0
    with pytest.raises(InputError, match="the video is cut off: it has"):
        for _ in read_frames(path):
            count += 1
    assert count > 5, "the frames before are used"


def test_the_frames_of_a_video_that_is_cut_off_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    write_video(path, "MJPG", 25, 30)
    path.write_bytes(path.read_bytes()[:-20_000])
    done = run_edgepose("run", path)
    assert done.returncode == 1
    assert "the video is cut off" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["index"] == len(done.stdout.splitlines()) - 1
