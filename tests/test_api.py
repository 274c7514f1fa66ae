"""The public API: `import edgepose`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgepose
from edgepose.runtime.synthetic import Scene

from .conftest import HANG_S
from .scene_dataset import write_video

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def estimator() -> edgepose.PoseEstimator:
    return edgepose.PoseEstimator("edgepose-tiny", threads=1)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return Scene(2, 640, 480).render_frame(0).image


@pytest.fixture(scope="module")
def result(estimator: edgepose.PoseEstimator, image: np.ndarray) -> edgepose.EstimateResult:
    return estimator.estimate(image)


def test_every_name_can_be_imported_without_heavy_packages() -> None:
    code = (
        "import sys, edgepose\n"
        "heavy = {'numpy', 'cv2', 'tensorflow', 'edgepose.runtime', 'importlib.metadata'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert edgepose.__version__\n"
        "for name in edgepose.__all__: getattr(edgepose, name)\n"
        "assert set(dir(edgepose)) == set(edgepose.__all__)\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, timeout=HANG_S)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgepose.nothing  # type: ignore[attr-defined]


def test_paths_pil_images_and_arrays_give_the_same_poses(
    estimator: edgepose.PoseEstimator, image: np.ndarray, result: edgepose.EstimateResult, tmp_path: Path
) -> None:
    pil = pytest.importorskip("PIL.Image")
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image)
    rgb = np.ascontiguousarray(image[..., ::-1])
    others = [
        estimator.estimate(path),
        estimator.estimate(str(path)),
        estimator.estimate(pil.fromarray(rgb)),
        estimator.estimate(rgb, "rgb"),
    ]
    assert len(result) == 2
    for other in others:
        for a, b in zip(result, other, strict=True):
            np.testing.assert_array_equal(a.keypoints, b.keypoints)
    with pytest.raises(edgepose.InputError, match=r"mistyped\.jpg: .*No such file"):
        estimator.estimate(tmp_path / "mistyped.jpg")
    with pytest.raises(TypeError, match="expected an array, a path or a PIL image, got int"):
        estimator.estimate(3)
    with pytest.raises(edgepose.ModelError, match="edgepose-tny"):
        edgepose.PoseEstimator("edgepose-tny")


def test_keypoints_have_names(result: edgepose.EstimateResult) -> None:
    pose = result.poses[0]
    index = edgepose.COCO18.keypoints.index("right_wrist")
    assert pose["right_wrist"] == tuple(pose.keypoints[index])
    assert pose["right_wrist"].found
    assert pose.xy.shape == (18, 2)
    assert pose.confidence.shape == (18,)
    with pytest.raises(edgepose.UnknownNameError, match=r"no keypoint .right_wirst.; did you mean right_wrist\?"):
        pose["right_wirst"]
    with pytest.raises(KeyError):
        pose["nothing"]


def test_angles_match_the_image() -> None:
    keypoints = np.zeros((18, 3), np.float32)
    places = {"right_shoulder": (0, 0), "right_elbow": (10, 0), "right_wrist": (10, 10), "left_hip": (0, 0),
              "left_knee": (0, 10), "left_ankle": (0, 20), "nose": (5, 5)}  # fmt: skip
    for name, (x, y) in places.items():
        keypoints[edgepose.COCO18.index(name)] = (x, y, 1)
    pose = edgepose.Pose(keypoints, 1.0)
    assert pose.angle("right_elbow") == pytest.approx(90)
    assert pose.angle("left_knee") == pytest.approx(180)
    assert pose.angle("right_elbow", "right_shoulder", "nose") == pytest.approx(45)
    assert pose.angle("left_elbow") is None
    assert replace(pose, person=3).angle("right_elbow") == pytest.approx(90)
    with pytest.raises(ValueError, match="needs start and end"):
        pose.angle("nose")
    with pytest.raises(ValueError, match="both start and end"):
        pose.angle("nose", "left_eye")
    with pytest.raises(edgepose.UnknownNameError):
        pose.angle("right_knie")


def test_results_are_drawn_and_written(
    estimator: edgepose.PoseEstimator, image: np.ndarray, result: edgepose.EstimateResult, tmp_path: Path
) -> None:
    drawn = result.plot()
    assert drawn.shape == image.shape
    np.testing.assert_array_equal(drawn, edgepose.draw_poses(image, result.poses))
    turned = estimator.estimate(np.ascontiguousarray(image[..., ::-1]), "rgb").plot()
    np.testing.assert_array_equal(turned[..., ::-1], drawn)
    result.save(tmp_path / "drawn.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "drawn.png")), drawn)
    shown = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown, drawn)
    gray = estimator.estimate(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    assert gray.plot().shape == image.shape


def test_results_convert_to_documents(result: edgepose.EstimateResult) -> None:
    document = result.to_dict()
    assert document == json.loads(result.to_json())
    assert len(document["poses"]) == 2
    assert (document["width"], document["height"]) == (640, 480)
    coco = result.to_coco(image_id=7)
    assert [entry["image_id"] for entry in coco] == [7, 7]
    assert [len(person["pose_keypoints_2d"]) for person in result.to_openpose()["people"]] == [54, 54]
    with pytest.raises(edgepose.InputError, match="has no image"):
        edgepose.EstimateResult(result.poses, result.timings_ms).plot()


def test_results_convert_to_supervision(result: edgepose.EstimateResult) -> None:
    supervision = pytest.importorskip("supervision")
    keypoints = result.to_supervision()
    assert keypoints.xy.shape == (2, 17, 2)
    nose = result.poses[0]["nose"]
    np.testing.assert_allclose(keypoints.xy[0, 0], (nose.x, nose.y))
    scene = supervision.EdgeAnnotator().annotate(np.zeros((480, 640, 3), np.uint8), keypoints)
    assert scene.any()


def test_a_second_thread_gets_an_error(estimator: edgepose.PoseEstimator, image: np.ndarray) -> None:
    estimator.acquire()
    with pytest.raises(RuntimeError, match="in use by another thread"):
        estimator.estimate(image)
    estimator.release()
    assert len(estimator.estimate(image)) == 2


def test_a_stream_reserves_its_estimator(estimator: edgepose.PoseEstimator, image: np.ndarray) -> None:
    frames = edgepose.stream("synthetic:1", estimator)
    next(frames)
    for use in (lambda: estimator.estimate(image), lambda: next(edgepose.stream("synthetic:2", estimator))):
        with pytest.raises(RuntimeError, match="or a running stream"):
            use()
    next(frames)
    frames.close()
    assert len(estimator.estimate(image)) == 2


def test_stream_of_a_video_tracks_people(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 8)
    threads = threading.active_count()
    seen = [(frame.index, [pose.person for pose in poses]) for frame, poses in edgepose.stream(path, threads=1)]
    assert [index for index, _ in seen] == list(range(8))
    assert sorted(seen[-1][1]) == [1, 2]
    assert threading.active_count() == threads


def test_leaving_a_stream_ends_its_threads(estimator: edgepose.PoseEstimator) -> None:
    threads = threading.active_count()
    for _frame, poses in edgepose.stream("synthetic:2", estimator, track=False):
        assert all(pose.person == 0 for pose in poses)
        break
    assert threading.active_count() == threads
    with pytest.raises(ValueError, match="smooth=True requires track=True"):
        next(edgepose.stream("synthetic", estimator, track=False, smooth=True))
    with pytest.raises(TypeError):
        next(edgepose.stream("synthetic", estimator, color=3))
    with pytest.raises(edgepose.InputError):
        next(edgepose.stream("/nowhere/a.mp4", estimator))


def test_the_camera_loop_calls_a_function(tmp_path: Path) -> None:
    seen: list[int] = []

    def on_poses(frame: edgepose.Frame, poses: tuple[edgepose.Pose, ...]) -> None:
        seen.append(len(poses))
        if len(seen) == 2:
            raise RuntimeError("one bad call does not end the loop")

    (tmp_path / "images").mkdir()
    for index in range(6):
        cv2.imwrite(str(tmp_path / f"images/{index}.png"), Scene(2, 640, 480).render_frame(index).image)
    edgepose.run_camera(on_poses, source=tmp_path / "images", sinks=(f"jsonl:{tmp_path}/poses.jsonl",))
    assert seen == [2] * 6
    assert (tmp_path / "poses.jsonl").read_text().count("\n") == 6
    with pytest.raises(ValueError, match="give on_poses, on_event, sinks, a recording or clips"):
        edgepose.run_camera(source="synthetic:1")


def test_a_model_is_profiled() -> None:
    row = edgepose.profile_model("edgepose-tiny", seconds=0.2, threads=1)
    assert row.fps > 1
    with pytest.raises(edgepose.ModelError):
        edgepose.profile_model("/nowhere/a.tflite", seconds=0.1)


@pytest.mark.convert
def test_a_model_is_converted_and_evaluated(dataset: Path, tmp_path: Path, float_model: Path) -> None:
    bare = tmp_path / "bare.tflite"
    from edgepose.runtime.model import container

    bare.write_bytes(container.read_flatbuffer(float_model))
    steps: list[str] = []
    conversion = edgepose.convert_model(bare, tmp_path / "out.tflite", resize="stretch", note=steps.append)
    assert conversion.manifest.input.resize == "stretch"
    assert conversion.verdict.ok, conversion.verdict
    score = edgepose.evaluate_model(tmp_path / "out.tflite", dataset / "images", dataset / "annotations.json", limit=2)
    assert score.images == 2
    assert score.ap > 0.3
    with pytest.raises(TypeError, match="no option 'precison'; expected one of"):
        edgepose.convert_model(bare, tmp_path / "x.tflite", precison="int8")
    with pytest.raises(edgepose.OutputError, match="there is no folder"):
        edgepose.convert_model(bare, tmp_path / "no/x.tflite")


def test_results_and_names_give_what_users_expect(estimator: edgepose.PoseEstimator) -> None:
    result = estimator.estimate(Scene(2, 640, 480).render_frame(0).image)
    assert result[0] is result.poses[0]
    assert result[-1] is result.poses[-1]
    with pytest.raises(edgepose.ModelError, match=r"did you mean edgepose-small\?"):
        edgepose.PoseEstimator("edgepose-smal")
    nobody = edgepose.Pose(np.zeros((18, 3), np.float32), 0.0)
    with pytest.raises(ValueError, match="at least one keypoint"):
        _ = nobody.bbox
    assert repr(result).startswith("EstimateResult(2 people, 640x480, ")
    assert repr(nobody) == "Pose(score 0.00, 0 of 18 keypoints)"
    assert repr(edgepose.COCO18) == "Skeleton('coco18', 18 keypoints, 19 limbs)"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda e, i: e.estimate(i, "RGB"), ValueError, "channel_order: expected bgr or rgb, got 'RGB'"),
        (lambda e, i: e.estimate(None), TypeError, "expected an array, a path or a PIL image, got NoneType"),
        (lambda e, i: e.estimate(i.astype(np.float32)), ValueError, "dtype uint8, got float32"),
        (lambda e, i: edgepose.Pipeline("synthetic", e), TypeError, "expected a source from open_source, got str"),
        (lambda e, i: edgepose.Pipeline(edgepose.open_source("synthetic"), None), TypeError, "PoseEstimator, got None"),
        (lambda e, i: edgepose.draw_poses(None, []), ValueError, "draw_poses: expected an image"),
        (lambda e, i: edgepose.draw_poses(i, None), TypeError, "expected poses or a result, got NoneType"),
        (lambda e, i: edgepose.Tracker(3), TypeError, "expected a Skeleton, got int"),
        (lambda e, i: edgepose.PoseEstimator(threads="2"), ValueError, "an integer from 1 to 64, got '2'"),
        (lambda e, i: edgepose.PoseEstimator(threads=100_000), ValueError, "an integer from 1 to 64"),
        (lambda e, i: edgepose.PoseEstimator(3), TypeError, "the name or path of a model, got int"),
        (lambda e, i: edgepose.PoseEstimator(""), ValueError, "got an empty text"),
        (lambda e, i: edgepose.run_camera(3), TypeError, "on_poses: expected a function, got int"),
        (lambda e, i: edgepose.run_camera(on_event=3), TypeError, "on_event: expected a function, got int"),
        (lambda e, i: edgepose.run_camera(on_event=print), ValueError, "on_event: there are no rules"),
        (lambda e, i: edgepose.run_camera(print, seconds=float("nan")), ValueError, "seconds: expected a number"),
        (lambda e, i: edgepose.run_camera(print, sinks="-"), TypeError, "sinks: expected a sequence"),
        (lambda e, i: edgepose.run_camera(print, 3), TypeError, "config: expected a path or a Config, got int"),
        (lambda e, i: e.estimate(i).save("drawn.xyz"), edgepose.OutputError, "expected the name of an image file"),
        (lambda e, i: e.estimate(i)[0][4], edgepose.UnknownNameError, "no keypoint 4; expected one of nose"),
    ],
)  # fmt: skip
def test_wrong_arguments_say_what_was_expected(
    call: object, error: type[Exception], words: str, estimator: edgepose.PoseEstimator, image: np.ndarray
) -> None:
    with pytest.raises(error) as caught:
        call(estimator, image)  # type: ignore[operator]
    assert words in str(caught.value)


def test_a_pose_iterates_over_its_keypoints(result: edgepose.EstimateResult, image: np.ndarray) -> None:
    keypoints = list(result[0])
    assert len(keypoints) == 18
    assert keypoints[0] == result[0]["nose"]
    np.testing.assert_array_equal(edgepose.draw_poses(image, result[0]), edgepose.draw_poses(image, [result[0]]))


def test_a_pipeline_is_started_with_with(estimator: edgepose.PoseEstimator) -> None:
    source = edgepose.open_source("synthetic:1")
    with pytest.raises(RuntimeError, match="is not started"):
        next(iter(edgepose.Pipeline(source, estimator)))
    source.close()


def test_a_pipeline_that_cannot_start_a_thread_leaves_nothing_behind(
    estimator: edgepose.PoseEstimator, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, failing = threading.Thread.start, ""

    def fail(thread: threading.Thread) -> None:
        if thread.name == failing:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    for name in ("edgepose-capture", "edgepose-inference"):
        failing = name
        with (
            pytest.raises(RuntimeError, match="start new thread"),
            edgepose.Pipeline(edgepose.open_source("synthetic:1"), estimator),
        ):
            pass
        assert len(estimator.estimate(image)) == 2
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgepose-")]
