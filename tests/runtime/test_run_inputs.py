"""`edgepose run` with difficult inputs: damaged, very long, unusual names, many formats."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgepose.runtime import Frame, InputError
from edgepose.runtime.cli import run
from edgepose.runtime.io.images import OPENCV_MAX_PIXELS, Video, read_frames
from edgepose.runtime.io.inputs import find_inputs

from ..conftest import call_edgepose, run_edgepose

Capture = pytest.CaptureFixture[str]
FPS = 20


def write_image(path: Path, width: int = 64, height: int = 48) -> Path:
    _, encoded = cv2.imencode(path.suffix or ".png", np.full((height, width, 3), 90, np.uint8))
    path.write_bytes(encoded.tobytes())
    return path


def write_video(path: Path, fourcc: str = "mp4v", frames: int = 6) -> Path:
    """Write a video with `frames` frames at 20 FPS, each with a different brightness."""
    plain = path.with_name(f"written{path.suffix}")
    writer = cv2.VideoWriter(str(plain), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*fourcc), FPS, (64, 48))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV does not write {fourcc} into {path.suffix}")
    for index in range(frames):
        writer.write(np.full((48, 64, 3), (30 * index + 20) % 256, np.uint8))
    writer.release()
    return plain.rename(path)


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


CONTAINERS = [
    ("mp4", "mp4v"), ("avi", "MJPG"), ("mkv", "mp4v"), ("mov", "mp4v"), ("webm", "VP80"), ("ts", "mp2v"),
    ("flv", "FLV1"), ("3gp", "mp4v"), ("wmv", "WMV2"), ("mts", "mp2v"), ("mpg", "mp2v"), ("vob", "mp2v"),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "fourcc"), CONTAINERS)
def test_timestamps_match_their_frame(suffix: str, fourcc: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"clip.{suffix}", fourcc)
    frames = list(read_frames(path))
    assert [frame.timestamp_ns for frame in frames] == [index * 10**9 // FPS for index in range(6)]
    assert [int(frame.image[20, 20, 0]) for frame in frames] == pytest.approx(
        [30 * index + 20 for index in range(6)], abs=12
    )
    with Video(path) as video:
        assert [frame.timestamp_ns for frame in video] == [frame.timestamp_ns for frame in frames]
        assert video.frame_count >= 0


class _FakeCapture:
    """Video capture whose container has timestamps for only some frames."""

    def __init__(self, times_ms: list[float], size: tuple[int, int] = (48, 64)) -> None:
        self._times, self._read, self._size = times_ms, 0, size

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, number: int) -> float:
        if number == cv2.CAP_PROP_POS_MSEC:
            return self._times[self._read - 1] if self._read else 0.0
        return {cv2.CAP_PROP_FPS: 20.0, cv2.CAP_PROP_FRAME_COUNT: -192153584101141.0}.get(number, 16.0)

    def read(self) -> tuple[bool, np.ndarray]:
        self._read += 1
        return self._read <= len(self._times), np.zeros((*self._size, 3), np.uint8)

    def release(self) -> None: ...


@pytest.mark.parametrize(("reported", "expected"), [
    ([0, 0, 0, 0], [0, 50, 100, 150]),
    ([0, 50, 100, 0], [0, 50, 100, 150]),
    ([0, 40, 120, 240], [0, 40, 120, 240]),
    ([-10, 50, float("nan"), 170], [0, 50, 100, 170]),
])  # fmt: skip
def test_missing_timestamps_are_computed(
    reported: list[float], expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepose.runtime.io import images

    (tmp_path / "x.mp4").write_bytes(b"x")
    monkeypatch.setattr(images, "open_capture", lambda _: _FakeCapture(reported))
    with Video(tmp_path / "x.mp4") as video:
        assert video.frame_count == 0
        assert [frame.timestamp_ns for frame in video] == [value * 1_000_000 for value in expected]


def test_frames_larger_than_declared_in_the_container_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepose.runtime.io import images

    (tmp_path / "x.mp4").write_bytes(b"x")
    monkeypatch.setattr(images, "open_capture", lambda _: _FakeCapture([0, 50], (480, 640)))
    with Video(tmp_path / "x.mp4", 10_000) as video, pytest.raises(InputError, match="640x480 pixels is more than"):
        list(video)


@pytest.mark.parametrize("suffix", ["mp4", "ts", "flv", "3gp", "dat", ""])
def test_videos_are_recognized_by_content(suffix: str, tmp_path: Path, capfd: Capture) -> None:
    fourcc = {"ts": "mp2v", "flv": "FLV1"}.get(suffix, "mp4v")
    path = write_video(tmp_path / f"clip.{suffix if suffix in ('ts', 'flv', '3gp') else 'mp4'}", fourcc)
    path = path.rename(tmp_path / f"video.{suffix}".rstrip("."))
    done = call_edgepose(capfd, "run", path, "--draw", tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    assert [document["index"] for document in documents(done.stdout)] == list(range(6))
    assert [drawn.name for drawn in (tmp_path / "drawn").iterdir()] == ["video.mp4"]


NAMES = [
    "a:b.mp4", "http:x.avi", "rtsp:x.mp4", "img%d.mp4", "img%02d.jpg", "-x.mp4", "--json.mp4", "concat:x|y.mp4",
    "a?b#1.mp4", "*.mp4", "[x].mp4", "synthetic:3", "Küche 1.mp4", "~.mp4", "0", "clip001.png",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_videos_open_whatever_their_name(
    name: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "clip.mp4").rename(tmp_path / name)
    write_image(tmp_path / "img1.jpg")
    write_image(tmp_path / "clip002.png")
    monkeypatch.chdir(tmp_path)
    done = call_edgepose(capfd, "run", "--draw", "drawn", "--", name)
    assert done.returncode == 0, done.stderr
    assert [document["index"] for document in documents(done.stdout)] == list(range(6))
    [drawn] = (tmp_path / "drawn").iterdir()
    capture = cv2.VideoCapture(str(drawn).replace("%", "%%") if "%" not in str(drawn) else os.fspath(drawn))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert capture.get(cv2.CAP_PROP_FPS) == FPS


SIZES = [(33_000, 10), (10, 40_000), (1, 1), (1, 5000), (65_535, 1), (1, 65_535), (32_767, 2), (32_768, 2)]


@pytest.mark.parametrize("size", SIZES)
def test_elongated_images_are_processed_and_drawn(size: tuple[int, int], tmp_path: Path, capfd: Capture) -> None:
    path = write_image(tmp_path / "long.png", *size)
    done = call_edgepose(capfd, "run", path, "--draw", tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    [document] = documents(done.stdout)
    assert (document["width"], document["height"]) == size
    [drawn] = (tmp_path / "drawn").iterdir()
    assert cv2.imread(str(drawn)).shape == (size[1], size[0], 3)


@pytest.fixture
def batch(tmp_path: Path) -> list[str]:
    """Return two valid images with invalid inputs between them."""
    write_image(tmp_path / "img_1.jpg")
    (tmp_path / "cut.jpg").write_bytes(write_image(tmp_path / "whole.jpg", 640, 480).read_bytes()[:200])
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "empty.bmp").touch()
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(500))
    (tmp_path / "cut.png").write_bytes(write_image(tmp_path / "whole.png").read_bytes()[:20])
    write_image(tmp_path / "img_9.jpg")
    names = ["img_1.jpg", "cut.jpg", "text.png", "missing.jpg", "empty.bmp", "bad.mp4", "cut.png", "img_9.jpg"]
    return [str(tmp_path / name) for name in names]


BAD = ("cut.jpg", "text.png", "missing.jpg", "empty.bmp", "bad.mp4", "cut.png")


@pytest.mark.parametrize("form", ["edgepose", "coco", "openpose"])
@pytest.mark.parametrize("to_file", [True, False])
def test_bad_inputs_do_not_affect_the_others(
    form: str, to_file: bool, batch: list[str], tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "out"
    done = call_edgepose(capfd, "run", *batch, "--format", form, "--json", out if to_file else "-", "--min-score", "0")
    assert done.returncode == 1
    for name in BAD:
        assert done.stderr.count(str(tmp_path / name)) == 1, done.stderr
    assert "6 of 8 inputs failed" in done.stderr
    if form == "coco":
        json.loads(out.read_text() if to_file else done.stdout)
    elif form == "openpose" and to_file:
        names = sorted(path.name for path in out.iterdir())
        assert names == ["img_1_000000000000_keypoints.json", "img_9_000000000007_keypoints.json"]
    else:
        found = [document["source"] for document in documents(out.read_text() if to_file else done.stdout)]
        assert found == [batch[0], batch[-1]]


@pytest.mark.parametrize("error", [
    InputError("x"), MemoryError(), ValueError("bad"), OSError(5, "I/O error"), cv2.error("x"), RuntimeError("?"),
    KeyError("k"), RecursionError(), AssertionError(), StopIteration(),
])  # fmt: skip
@pytest.mark.parametrize("form", ["edgepose", "coco"])
def test_any_error_of_an_input_does_not_affect_the_others(
    error: Exception, form: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepose.runtime import estimator

    original: Callable[..., Any] = estimator.PoseEstimator.estimate

    def estimate(self: Any, image: np.ndarray, *rest: Any) -> Any:
        if image.shape[0] == 50:
            raise error
        return original(self, image, *rest)

    monkeypatch.setattr(estimator.PoseEstimator, "estimate", estimate)
    for name, height in (("a.png", 48), ("b.png", 50), ("c.png", 48)):
        write_image(tmp_path / name, height=height)
    out = tmp_path / "out.json"
    done = call_edgepose(capfd, "run", tmp_path, "--json", out, "--format", form)
    assert done.returncode == 1, done
    assert f"edgepose: {tmp_path / 'b.png'}: " in done.stderr
    if form == "edgepose":
        assert [Path(document["source"]).name for document in documents(out.read_text())] == ["a.png", "c.png"]
    else:
        json.loads(out.read_text())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_results_written_before_the_end_are_kept(
    error: BaseException, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames(source: Any, *_: Any) -> Iterator[Frame]:
        yield Frame(np.zeros((48, 64, 3), np.uint8), source.name)
        raise error

    monkeypatch.setattr(run, "read_input", frames)
    write_image(tmp_path / "a.png")
    out = tmp_path / "out.jsonl"
    done = call_edgepose(capfd, "run", tmp_path / "a.png", "--json", out)
    assert done.returncode == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert len(out.read_text().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "out.jsonl"]


def test_without_readable_inputs_the_exit_code_is_2(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "text.png").write_text("text")
    done = call_edgepose(capfd, "run", tmp_path / "text.png", tmp_path / "missing.png", "--json", tmp_path / "out")
    assert done.returncode == 2
    assert "text.png" in done.stderr
    assert "missing.png" in done.stderr
    assert not (tmp_path / "out").exists()


def test_openpose_does_not_make_a_folder_that_looks_like_a_file(tmp_path: Path, capfd: Capture) -> None:
    done = call_edgepose(capfd, "run", "synthetic", "--format", "openpose", "--json", tmp_path / "poses.jsonl")
    assert done.returncode == 2
    assert "expected a folder" in done.stderr
    assert not (tmp_path / "poses.jsonl").exists()


def test_a_folder_reports_skipped_files(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.jfif", "a.JPE"):
        (tmp_path / name).write_bytes(cv2.imencode(".jpg", np.zeros((9, 9, 3), np.uint8))[1].tobytes())
    for name in ("notes.txt", "._a.jpg", ".DS_Store", "clip.mp4"):
        (tmp_path / name).write_text("text")
    done = call_edgepose(capfd, "run", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [Path(document["source"]).name for document in documents(done.stdout)] == ["a.JPE", "b.jfif"]
    assert f"edgepose: {tmp_path}: 3 files or folders skipped: clip.mp4, notes.txt, sub/\n" in done.stderr


@pytest.mark.parametrize(("name", "words"), [
    ("rtsp://user:secret@127.0.0.1:1/x", "rtsp://127.0.0.1:1/x: connection refused"),
    ("http://127.0.0.1:1/video", "connection refused"),
    ("http://me:secret@127.0.0.1:1/a/photo.jpg?size=large", "connection refused"),
    ("ftp://example.org/photo.jpg", "this scheme is not supported; expected rtsp://"),
    ("file:///home/me/photo.jpg", "/home/me/photo.jpg"),
    ("63", "/dev/video63: there is no such camera"),
    ("/dev/video63", "there is no such camera"),
    ("/dev/v4l/by-id/usb-nothing", "there is no such camera"),
    ("/dev/null", "this is a device, not a file"),
    ("v4l2:63", "there is no such camera"),
    ("v4l2:x", "expected a number from 0 to 63"),
    ("*.nothing", "no file matches"),
    ("missing.jpg", "no such image"),
    ("", "no such"),
    ("a\0b", ""),
])  # fmt: skip
def test_inputs_that_are_not_files_give_a_hint(
    name: str, words: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # In a process of its own: after OpenCV has written a video, as other tests do, its FFmpeg prints messages.
    is_network = "127.0.0.1" in name
    done = run_edgepose("run", name) if is_network else call_edgepose(capfd, "run", name)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr
    assert "secret" not in done.stderr


def test_wildcards_are_expanded_if_no_file_has_that_name(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "[1].jpg"):
        write_image(tmp_path / name)
    assert [Path(item.name).name for item in find_inputs(str(tmp_path / "?.jpg"))] == ["a.jpg", "b.jpg"]
    assert [Path(item.name).name for item in find_inputs(str(tmp_path / "[1].jpg"))] == ["[1].jpg"]


def test_the_home_folder_is_expanded(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_image(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    done = call_edgepose(capfd, "run", "~/a.png", "--json=~/out.jsonl", "--draw=~/drawn")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.jsonl").exists()
    assert (tmp_path / "drawn/a.jpg").exists()
    done = call_edgepose(capfd, "run", "~/a.png", "--draw", "~nobody-of-this-name/x")
    assert not (tmp_path / "~").exists()
    assert "Traceback" not in done.stderr


def test_a_file_whose_name_starts_with_a_tilde_is_read(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "~a.png")
    assert call_edgepose(capfd, "run", "~a.png").returncode == 0


def test_the_pixel_limit_is_an_option_for_images_and_videos(tmp_path: Path, capfd: Capture) -> None:
    image, video = write_image(tmp_path / "a.png"), write_video(tmp_path / "b.mp4")
    assert call_edgepose(capfd, "run", image, video, "--max-pixels", "3072").returncode == 0
    done = call_edgepose(capfd, "run", image, video, "--max-pixels", "3071")
    assert done.returncode == 2
    assert done.stderr.count("64x48 pixels is more than the limit of 3071 pixels") == 2
    for wrong in ("0", str(OPENCV_MAX_PIXELS + 1)):
        assert call_edgepose(capfd, "run", image, "--max-pixels", wrong).returncode == 2


def test_a_larger_limit_is_in_force_too(tmp_path: Path, capfd: Capture) -> None:
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.zeros((8200, 8200), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    done = call_edgepose(capfd, "run", path)
    assert done.returncode == 2
    assert "8200x8200" in done.stderr
    assert call_edgepose(capfd, "run", path, "--max-pixels", "70000000").returncode == 0


@pytest.mark.parametrize(("content", "words"), [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    (b"\n<!DOCTYPE html><html>", "HTML page"),
    (b"\x1f\x8b\x08\0", "gzip"),
    (b"PK\x03\x04\0", "ZIP archive"),
    (b"%PDF-1.7", "PDF document"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["a.jpg", "a.mp4", "a"])
def test_wrong_downloads_are_reported_with_their_type(
    content: bytes, words: str, name: str, tmp_path: Path, capfd: Capture
) -> None:
    (tmp_path / name).write_bytes(content)
    done = call_edgepose(capfd, "run", tmp_path / name)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"{tmp_path / name}: " in done.stderr
    assert words in done.stderr


class _ClosedWriter:
    fourcc = staticmethod(cv2.VideoWriter.fourcc)

    def __init__(self, *_: object) -> None:
        self.isOpened = lambda: False


def test_a_video_that_cannot_be_drawn_does_not_affect_the_others(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepose.runtime.io import video_writer

    video, image = write_video(tmp_path / "a.mp4"), write_image(tmp_path / "b.png")
    monkeypatch.setattr(video_writer.cv2, "VideoWriter", _ClosedWriter)
    monkeypatch.setattr(video_writer, "_ENCODERS", ())
    done = call_edgepose(capfd, "run", video, image, "--draw", tmp_path / "drawn")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("64x48 pixels cannot be encoded as a video") == 1
    assert len(documents(done.stdout)) == 7
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["b.jpg"]


def test_image_ids_of_a_run(tmp_path: Path, capfd: Capture) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "000042.png")
    done = call_edgepose(capfd, "run", tmp_path / "a", tmp_path / "b", "--format", "coco")
    assert "end with the same number" in done.stderr
    done = call_edgepose(capfd, "run", tmp_path / "a", "--format", "coco")
    assert "same number" not in done.stderr


@pytest.mark.parametrize("kind", ["folder", "gif", "mpg"])
def test_calibration_reads_the_same_inputs_as_run(kind: str, tmp_path: Path) -> None:
    from edgepose.convert.quantize.calibration_images import CalibrationImages, ImageFolder
    from edgepose.runtime.model.manifest import InputSpec

    if kind == "folder":
        for name in ("a.jpg", "b.png"):
            write_image(tmp_path / name)
        (tmp_path / "._a.jpg").write_bytes(b"\0\x05\x16\x07")
        assert len(list(ImageFolder(tmp_path))) == 2
        place, count = tmp_path, 2
    elif kind == "gif":
        if not hasattr(cv2, "imdecodeanimation"):
            pytest.skip("this OpenCV does not write animations")
        animation = cv2.Animation()
        animation.frames = [np.full((48, 64, 4), 40 * index, np.uint8) for index in range(5)]
        animation.durations = np.full(5, 100, np.int32)
        cv2.imwriteanimation(str(tmp_path / "x.gif"), animation)
        place, count = tmp_path / "x.gif", 5
    else:  # a container without the number of frames
        place, count = write_video(tmp_path / "x.mpg", "mp2v", 150), 64
    images = CalibrationImages(place, InputSpec("", 64, 48))
    assert len(list(images)) == pytest.approx(count, abs=26 if kind == "mpg" else 0)


def test_an_unexpanded_option_is_not_lost_in_the_command_line() -> None:
    options = run.command.parse_options(["~nobody-of-this-name/x", "--json=~/out.jsonl"])
    assert options.inputs == ("~nobody-of-this-name/x",)
    assert options.json == str(Path("~/out.jsonl").expanduser())


@pytest.mark.parametrize("arguments", [("--json", "p.jpg"), ("--draw", "."), ("--json", "link.jpg")])
def test_an_output_never_overwrites_its_input(
    arguments: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "p.jpg")
    (tmp_path / "link.jpg").symlink_to("p.jpg")
    before = (tmp_path / "p.jpg").read_bytes()
    done = call_edgepose(capfd, "run", "p.jpg", *arguments)
    assert done.returncode == 2
    assert "would overwrite the input p.jpg" in done.stderr
    for option in ("--record", "--sink"):
        name = "p.jpg" if option == "--record" else "jsonl:p.jpg"
        done = call_edgepose(capfd, "camera", "--source", "p.jpg", option, name, "--privacy", "none")
        assert done.returncode == 2
    assert (tmp_path / "p.jpg").read_bytes() == before
