"""Output formats of the runtime: JSON Lines, documents, drawings."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.runtime import COCO18, EstimateResult, Frame, OutputError, Pose, Timings
from edgepose.runtime.io import atomic, formats, naming
from edgepose.runtime.io.images import read_image
from edgepose.runtime.visualize.draw import compute_limb_colors, draw_poses
from edgepose.runtime.visualize.writer import DrawingWriter


def make_pose() -> Pose:
    keypoints = np.zeros((18, 3), np.float32)
    keypoints[:, 0] = 100 + 10 * np.arange(18)
    keypoints[:, 1] = 80 + 5 * np.arange(18)
    keypoints[:, 2] = 0.5
    keypoints[4] = 0
    return Pose(keypoints, 0.6125)


FRAME = Frame(np.zeros((240, 320, 3), np.uint8), "folder/000000000785.jpg", index=7, timestamp_ns=5)
RESULT = EstimateResult((make_pose(),), Timings(0.5, 20.25, 0.125))


def test_a_line_has_all_entries_of_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(naming.NAME_VARIABLE, raising=False)
    line = json.loads(formats.format_edgepose_line(FRAME, RESULT))
    assert line["version"] == formats.FORMAT_VERSION == 2
    assert (line["device"], line["time"]) == (naming.get_host_name(), None)
    assert (line["source"], line["index"], line["timestamp_ns"]) == ("folder/000000000785.jpg", 7, 5)
    assert (line["width"], line["height"]) == (320, 240)
    assert line["timings_ms"] == {"preprocess": 0.5, "inference": 20.25, "decode": 0.125}
    [person] = line["poses"]
    assert person["score"] == 0.6125
    assert len(person["keypoints"]) == 18
    assert person["keypoints"][0] == [100.0, 80.0, 0.5]
    assert person["keypoints"][4] == [0, 0, 0]


def test_openpose_has_54_numbers_a_person() -> None:
    line = json.loads(formats.format_openpose_line(FRAME, RESULT))
    assert line["version"] == 1.3
    assert [len(person["pose_keypoints_2d"]) for person in line["people"]] == [54]
    assert line["people"][0]["pose_keypoints_2d"][3:6] == [110.0, 85.0, 0.5]


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_coco_is_an_array_pycocotools_can_load(frames: int) -> None:
    written: list[str] = []
    formats.write_results("coco", [(FRAME, RESULT)] * frames, COCO18, written.append)
    results = json.loads("".join(written))
    assert len(results) == frames
    for result in results:
        assert result["image_id"] == 785
        assert len(result["keypoints"]) == 51
        left_eye = COCO18.keypoints.index("left_eye")
        assert result["keypoints"][3:5] == [100 + 10 * left_eye, 80 + 5 * left_eye]


def test_image_ids_are_trailing_numbers_or_running_numbers() -> None:
    ids = formats.CocoImageIds(["COCO_val2014_000000000042.jpg", "holiday.jpg", "a/000000000001.jpg"])
    found = [ids(name, 0) for name in ("COCO_val2014_000000000042.jpg", "holiday.jpg", "a/000000000001.jpg")]
    assert found == [42, 2, 1]
    assert not ids.warning


def test_frames_of_two_videos_never_share_an_image_id() -> None:
    ids = formats.CocoImageIds(["x_3.jpg"])
    frames = [(name, index) for name in ("a/clip_7.mp4", "b/clip_7.mp4", "x.gif") for index in range(4)]
    found = [ids(*frame) for frame in frames] + [ids("x_3.jpg", 0)]
    assert len(set(found)) == len(found)
    assert found[-1] == 3
    assert found == [ids(*frame) for frame in frames] + [3]


def test_equal_trailing_numbers_give_running_numbers_and_a_warning() -> None:
    ids = formats.CocoImageIds(["a/000042.jpg", "b/img_42.jpg", "c_7.jpg"])
    assert [ids(name, 0) for name in ("a/000042.jpg", "b/img_42.jpg", "c_7.jpg")] == [1, 2, 3]
    assert "a/000042.jpg and b/img_42.jpg" in ids.warning


def test_a_number_that_is_too_long_is_not_an_image_id() -> None:
    assert formats.CocoImageIds([f"{10**18 + 7}.jpg"])(f"{10**18 + 7}.jpg", 0) == 1


def test_image_ids_without_a_list_of_the_images() -> None:
    ids = formats.CocoImageIds()
    assert [ids("a/7.jpg", 0), ids("b/7.jpg", 0), ids("clip_9.mp4", 0), ids("a/7.jpg", 0)] == [7, 1, 2, 7]


def test_coco_results_name_their_image_and_the_array_is_closed_after_an_error() -> None:
    def results() -> Iterator[tuple[Frame, EstimateResult]]:
        yield FRAME, RESULT
        raise RuntimeError

    written: list[str] = []
    with pytest.raises(RuntimeError):
        formats.write_results("coco", results(), COCO18, written.append)
    [result] = json.loads("".join(written))
    assert result["file_name"] == FRAME.source


def test_pycocotools_loads_the_results() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    truth = coco.COCO()
    truth.dataset = {"images": [{"id": 785}], "annotations": [], "categories": [{"id": 1}]}
    truth.createIndex()
    written: list[str] = []
    formats.write_results("coco", [(FRAME, RESULT)], COCO18, written.append)
    assert truth.loadRes(json.loads("".join(written))).getImgIds() == [785]


def test_openpose_files_have_name_and_number(tmp_path: Path) -> None:
    folder = formats.OpenPoseFolder(tmp_path / "pose", {"a/left.jpg": 0, "a/damaged.jpg": 1, "a/right.jpg": 2})
    for source, index in (("a/left.jpg", 0), ("a/right.jpg", 0), ("x/clip.mp4", 0), ("x/clip.mp4", 1),
                          ("y/clip.avi", 0), ("y/left.mp4", 0)):  # fmt: skip
        folder.write(Frame(FRAME.image, source, index), RESULT)
    found = sorted(path.name for path in (tmp_path / "pose").iterdir())
    assert found == [
        "clip-2_000000000000_keypoints.json",
        "clip_000000000000_keypoints.json",
        "clip_000000000001_keypoints.json",
        "left-2_000000000000_keypoints.json",
        "left_000000000000_keypoints.json",
        "right_000000000002_keypoints.json",
    ]
    content = json.loads((tmp_path / "pose" / found[0]).read_text())
    assert content.keys() == {"version", "people"}
    # The pattern with which Pose2Sim finds the frame number.
    assert [int(re.split(r"(\d+)", name)[-2]) for name in found] == [0, 0, 1, 0, 0, 2]


def test_openpose_lines_have_name_and_index() -> None:
    line = json.loads(formats.format_openpose_line(FRAME, RESULT))
    assert (line["source"], line["index"]) == (FRAME.source, FRAME.index)


def test_drawings_that_are_too_large_for_jpeg_are_png(tmp_path: Path) -> None:
    with DrawingWriter(tmp_path, COCO18) as drawings:
        drawings.add(Frame(np.zeros((1, 65535, 3), np.uint8), "wide.bmp"), RESULT)
    assert [path.name for path in tmp_path.iterdir()] == ["wide.png"]


def test_video_frames_that_change_their_size_are_drawn(tmp_path: Path) -> None:
    with DrawingWriter(tmp_path, COCO18) as drawings:
        for index, size in enumerate([(240, 320), (120, 160), (240, 320)]):
            drawings.add(Frame(np.zeros((*size, 3), np.uint8), "a:b.avi", index), RESULT)
    capture = cv2.VideoCapture(str(tmp_path / "a_b.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_the_box_contains_the_found_keypoints() -> None:
    box = make_pose().bbox
    assert (box.x, box.y, box.width, box.height) == (100, 80, 170, 85)


def test_drawing_leaves_the_image_alone_and_colors_the_limbs() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    drawn = draw_poses(image, [make_pose()])
    assert (image == 90).all()
    assert drawn.shape == image.shape
    assert len(set(compute_limb_colors(COCO18))) == 19


@pytest.mark.parametrize("number", [0, 3, 9, 16])
def test_each_limb_is_drawn_at_its_position_in_its_color(number: int) -> None:
    limb = COCO18.limbs[number]
    keypoints = np.zeros((18, 3), np.float32)
    keypoints[limb.a], keypoints[limb.b] = (40, 60, 1), (200, 180, 1)
    drawn = draw_poses(np.full((240, 320, 3), 90, np.uint8), [Pose(keypoints, 1.0)])
    assert np.abs(drawn[120, 120].astype(int) - compute_limb_colors(COCO18)[number]).max() < 60
    assert (drawn[200:, :] == 90).all()
    assert (drawn[:, 230:] == 90).all()


def test_a_pose_outside_the_image_can_be_drawn() -> None:
    far = Pose(make_pose().keypoints * np.array([1e6, -1e6, 1], np.float32), 1.0)
    assert not draw_poses(np.zeros((40, 40, 3), np.uint8), [far]).any()


def test_images_of_the_same_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    with DrawingWriter(tmp_path / "new" / "folder", COCO18) as drawings:
        for name in ("a/x.png", "b/x.png", "synthetic:2"):
            drawings.add(Frame(FRAME.image, name), RESULT)
    names = sorted(path.name for path in (tmp_path / "new/folder").iterdir())
    assert names == ["synthetic_2.jpg", "x-2.jpg", "x.jpg"]
    assert read_image(tmp_path / "new/folder/x.jpg").shape == (240, 320, 3)


def test_a_drawn_video_plays_and_an_interrupted_one_leaves_nothing(tmp_path: Path) -> None:
    with DrawingWriter(tmp_path / "whole", COCO18) as drawings:
        for index in range(5):
            drawings.add(Frame(FRAME.image, "clip.avi", index), RESULT)
    assert [path.name for path in (tmp_path / "whole").iterdir()] == ["clip.mp4"]
    capture = cv2.VideoCapture(str(tmp_path / "whole/clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    capture.release()
    with pytest.raises(KeyboardInterrupt), DrawingWriter(tmp_path / "half", COCO18) as drawings:
        drawings.add(Frame(FRAME.image, "clip.avi"), RESULT)
        raise KeyboardInterrupt
    assert list((tmp_path / "half").iterdir()) == []


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    atomic.write_text(path, "first")
    with pytest.raises(RuntimeError), atomic.replace_file(path) as temporary:
        temporary.write_text("half of the sec")
        raise RuntimeError
    assert path.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.txt"]
    assert path.stat().st_mode & 0o600 == 0o600


@pytest.mark.parametrize("place", ["missing/result.txt", "."])
def test_places_that_cannot_be_written_are_named(tmp_path: Path, place: str) -> None:
    with pytest.raises(OutputError, match=r"cannot write|expected a file"):
        atomic.write_text(tmp_path / place, "text")


def test_a_video_that_was_not_written_whole_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's video writer does not report a full disk."""
    monkeypatch.setitem(sys.modules, "av", None)
    with (
        pytest.raises(OutputError, match=r"clip\.mp4: the video cannot be written"),
        DrawingWriter(tmp_path, COCO18) as drawings,
    ):
        drawings.add(Frame(FRAME.image, "clip.avi"), RESULT)
        video = drawings._video
        assert video is not None
        monkeypatch.setattr(video._writer, "_written", 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("side", "width_px"), [(80, 1), (640, 1), (3840, 6)])
def test_lines_and_numbers_scale_with_the_image(side: int, width_px: int) -> None:
    """A small person: the line is as wide as the least width for this image."""
    keypoints = np.zeros((18, 3), np.float32)
    limb = COCO18.limbs[0]
    keypoints[limb.a], keypoints[limb.b] = (side // 2 - 10, side // 2, 1), (side // 2 + 10, side // 2, 1)
    image = np.full((side, side, 3), 90, np.uint8)
    without, drawn = (draw_poses(image, [Pose(keypoints, 1.0, person)]) for person in (0, 7))
    colored = (np.ptp(without[:, side // 2].astype(int), axis=1) > 100).sum()
    assert width_px <= colored <= width_px + 2
    number = np.argwhere((drawn != without).any(axis=2))
    assert number[:, 0].max() < side // 2, "above the person"
    assert np.ptp(number[:, 0]) >= max(6, side / 80)


def test_numbers_stay_inside_the_image() -> None:
    keypoints = np.zeros((18, 3), np.float32)
    keypoints[0], keypoints[1] = (1, 1, 1), (5, 5, 1)
    image = np.zeros((240, 320, 3), np.uint8)
    assert (draw_poses(image, [Pose(keypoints, 1.0, 123456)]) != draw_poses(image, [Pose(keypoints, 1.0)])).any()
