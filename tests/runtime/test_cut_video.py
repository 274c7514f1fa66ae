"""Incomplete videos are detected from the sizes in their containers, without false alarms."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.runtime.errors import InputError
from edgepose.runtime.io.images import read_frames
from edgepose.runtime.io.video_extent import find_missing_bytes

from ..conftest import find_test_data, run_edgepose

FRAMES = 40
CONTAINERS = {
    ".avi": "MJPG", ".mp4": "mp4v", ".mov": "mp4v", ".3gp": "mp4v", ".mkv": "mp4v", ".webm": "VP80", ".flv": "FLV1",
    ".wmv": "WMV2", ".asf": "mp4v",
}  # fmt: skip
SILENT = {".mpg": "mp1v", ".ts": "mp2v", ".vob": "mp2v", ".mxf": "mp2v", ".m2v": "mp2v"}
"""Containers that do not contain their length."""


def make_video(folder: Path, suffix: str, fps: float = 25, frames: int = FRAMES) -> Path:
    path = folder / f"video{suffix}"
    fourcc = cv2.VideoWriter.fourcc(*{**CONTAINERS, **SILENT}[suffix])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, (96, 64))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV does not write {suffix}")
    noise = np.random.default_rng(0)
    for _ in range(frames):
        writer.write(noise.integers(0, 255, (64, 96, 3), np.uint8))
    writer.release()
    if suffix in (".mp4", ".mov", ".3gp"):
        move_index_to_front(path)
    return path


def move_index_to_front(path: Path) -> None:
    """Move the index to the front like `-movflags faststart`. Otherwise no frame of an incomplete file can be read."""
    content = path.read_bytes()
    boxes, position = {}, 0
    while position < len(content):
        length, name = struct.unpack(">I4s", content[position : position + 8])
        boxes[name] = content[position : position + length]
        position += length
    index = bytearray(boxes[b"moov"])
    table = index.find(b"stco") + 8
    (count,) = struct.unpack(">I", index[table : table + 4])
    for entry in range(table + 4, table + 4 + 4 * count, 4):
        (offset,) = struct.unpack(">I", index[entry : entry + 4])
        index[entry : entry + 4] = struct.pack(">I", offset + len(index))
    rest = b"".join(box for name, box in boxes.items() if name not in (b"ftyp", b"moov"))
    path.write_bytes(boxes[b"ftyp"] + bytes(index) + rest)


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("share", [0.5, 0.75, 0.99])
def test_a_cut_video_is_named_and_its_frames_are_used(suffix: str, share: float, tmp_path: Path) -> None:
    path = make_video(tmp_path, suffix)
    assert len(list(read_frames(path))) == FRAMES
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found = []
    with pytest.raises(InputError, match="the video is cut off: it has") as error:
        found.extend(read_frames(path))
        raise AssertionError("taken as complete")
    assert str(error.value).startswith(f"{path}: ")
    assert 0 < len(found) <= FRAMES


RATES = (5, 12.5, 24000 / 1001, 30, 59.94)
# MPEG-1 and MXF have only a few rates.
COMBINATIONS = [
    (suffix, fps)
    for suffix in (*CONTAINERS, *SILENT)
    for fps in RATES
    if suffix not in (".mpg", ".mxf") or fps in (24000 / 1001, 30)
]


@pytest.mark.parametrize(("suffix", "fps"), COMBINATIONS)
@pytest.mark.parametrize("frames", [1, 2, 33])
def test_whole_videos_give_no_false_alarm(suffix: str, fps: float, frames: int, tmp_path: Path) -> None:
    path = make_video(tmp_path, suffix, fps, frames)
    assert find_missing_bytes(path) == 0
    # Some programs pad files or append data.
    content = path.read_bytes()
    path.write_bytes(content + b"\0" * 100)
    assert find_missing_bytes(path) == 0


def test_a_real_video_is_whole() -> None:
    assert find_missing_bytes(find_test_data("video") / "exercise.avi") == 0


@pytest.mark.parametrize("content", [
    b"", b"RIFF", b"RIFF\0\0\0\0AVI LIST", b"RIFF\xff\xff\xff\xffAVI LIST", b"\x1aE\xdf\xa3",
    b"\x1aE\xdf\xa3\x80\x18S\x80g", b"\x1aE\xdf\xa3\x80\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff",
    b"\x1aE\xdf\xa3\x80\x18S\x80g\xff", b"FLV\x01", b"\0\0\0\x08ftyp\0\0\0\x01mdat",
    b"\0\0\0\x08ftyp\0\0\0\0mdatxxxx", b"\0\0\0\x02ftyp", b"\0\0\0\x08ftyp\0\0\xff\xffjunk",
], ids=repr)  # fmt: skip
def test_unknown_and_impossible_sizes_are_ignored(content: bytes, tmp_path: Path) -> None:
    """Live streams have no length. Interrupted recordings have not yet written it."""
    (tmp_path / "x").write_bytes(content)
    assert find_missing_bytes(tmp_path / "x") == 0


@pytest.mark.parametrize("command", ["run", "camera"])
def test_the_exit_code_of_a_cut_video_is_1(command: str, tmp_path: Path) -> None:
    path = make_video(tmp_path, ".mkv")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    options = [path] if command == "run" else ["--source", path, "--sink", "-"]
    done = run_edgepose(command, *options)
    assert done.returncode == 1, done
    assert done.stderr.count(f"{path}: the video is cut off") == 1
    indices = [json.loads(line)["index"] for line in done.stdout.splitlines()]
    assert indices
    assert command == "camera" or indices == list(range(len(indices)))


def test_a_video_without_its_index_is_named_as_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (96, 64))
    for _ in range(FRAMES):
        writer.write(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match="the index at the end of the file is missing"):
        list(read_frames(path))
