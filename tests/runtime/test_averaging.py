"""Maps averaged over the mirror image and several input sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepose.device.camera.pipeline import Pipeline
from edgepose.device.sources.base import SyntheticCamera
from edgepose.runtime import PoseEstimator
from edgepose.runtime.averaging import _compute_mirror_channels, make_resampling, make_scaled_size
from edgepose.runtime.errors import ModelError
from edgepose.runtime.model import container
from edgepose.runtime.model.interpreter import choose_interpreter
from edgepose.runtime.skeleton import COCO18, get_skeleton, list_skeletons
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import Pose

from ..conftest import call_edgepose

SCENE = Scene(3, 640, 480, seed=4).render_frame(5)


def needs_schema() -> None:
    if choose_interpreter()[0] == "tflite-runtime":
        pytest.skip("tflite-runtime has no schema classes; scales need them")


def sort_poses(poses: tuple[Pose, ...]) -> np.ndarray:
    return np.stack(sorted((pose.keypoints for pose in poses), key=lambda points: float(points[1, 0])))


def test_an_augmented_result_is_the_same_for_the_mirror_image(small_model: Path) -> None:
    estimator = PoseEstimator(small_model, augment=True)
    assert estimator.passes == 2
    direct = sort_poses(estimator.estimate(SCENE.image).poses)
    mirrored = sort_poses(estimator.estimate(np.ascontiguousarray(SCENE.image[:, ::-1])).poses)[::-1]
    mirrored = mirrored[:, COCO18.mirror_order]
    assert direct.shape == mirrored.shape and len(direct) == 3
    found = direct[..., 2] > 0
    assert (found == (mirrored[..., 2] > 0)).all()
    assert np.abs(640 - mirrored[..., 0] - direct[..., 0])[found].max() < 0.5
    assert np.abs(mirrored[..., 1] - direct[..., 1])[found].max() < 0.5


def test_a_plain_result_is_not_the_same_for_the_mirror_image(small_model: Path) -> None:
    """Shows that the test above can fail."""
    estimator = PoseEstimator(small_model)
    direct = sort_poses(estimator.estimate(SCENE.image).poses)
    mirrored = sort_poses(estimator.estimate(np.ascontiguousarray(SCENE.image[:, ::-1])).poses)[::-1]
    mirrored = mirrored[:, COCO18.mirror_order]
    found = (direct[..., 2] > 0) & (mirrored[..., 2] > 0)
    assert np.abs(640 - mirrored[..., 0] - direct[..., 0])[found].max() > 0.5


def test_several_scales_find_the_same_people(small_model: Path) -> None:
    needs_schema()
    plain = sort_poses(PoseEstimator(small_model).estimate(SCENE.image).poses)
    estimator = PoseEstimator(small_model, augment=True, scales=(1, 1.3))
    assert estimator.passes == 4
    fields = estimator.infer(SCENE.image)
    assert fields.heatmaps.shape == (*estimator.manifest.grid, 19)
    averaged = sort_poses(estimator.estimate(SCENE.image).poses)
    found = (plain[..., 2] > 0) & (averaged[..., 2] > 0)
    assert found.mean() > 0.9
    assert np.median(np.abs(plain - averaged)[found][:, :2]) < 3


def test_the_first_scale_sets_the_grid_and_the_scale_of_the_poses(small_model: Path) -> None:
    needs_schema()
    estimator = PoseEstimator(small_model, scales=(2.0,))
    fields = estimator.infer(SCENE.image)
    assert fields.heatmaps.shape[:2] == (92, 108)
    del fields
    truth = sort_poses(tuple(Pose(np.column_stack((p, np.ones(18))).astype(np.float32), 1) for p in SCENE.keypoints))
    found = sort_poses(estimator.estimate(SCENE.image).poses)
    assert np.median(np.abs(found - truth)[..., :2][found[..., 2] > 0]) < 6


def test_a_resize_operator_keeps_its_network_equal_at_the_old_size(small_model: Path) -> None:
    needs_schema()
    from edgepose.runtime.map_inference import MapInference
    from edgepose.runtime.model.resized_network import scale_resize_operators

    manifest, content = container.load(small_model, None)
    same = scale_resize_operators(content, (432, 368), (432, 368))
    one, other = (MapInference(small_model, manifest, data, 1) for data in (content, same))
    assert (one.infer(SCENE.image).heatmaps == other.infer(SCENE.image).heatmaps).all()
    with pytest.raises(ModelError, match="cannot run at 436x368"):
        scale_resize_operators(content, (432, 368), (436, 368))
    for damaged in (b"", content[:200], bytes(len(content)), content[:50_000]):
        with pytest.raises(ModelError, match="cannot be read"):
            scale_resize_operators(damaged, (432, 368), (864, 736))


def test_resampling_keeps_linear_functions_and_mirrors() -> None:
    same = make_resampling(20, (8.0, 0.0), 20, (8.0, 0.0))
    assert np.array_equal(same, np.eye(20, dtype=np.float32))
    finer = make_resampling(20, (8.0, 0.0), 40, (4.0, 0.0))
    ramp = 4.0 * (np.arange(40) + 0.5)
    assert np.allclose((finer @ ramp)[1:-1], 8.0 * (np.arange(20) + 0.5)[1:-1], atol=1e-3)
    mirrored = make_resampling(20, (8.0, 0.0), 20, (-8.0, 160.0))
    assert np.array_equal(mirrored, np.eye(20, dtype=np.float32)[::-1])
    outside = make_resampling(20, (8.0, 0.0), 20, (-8.0, 80.0))
    assert not outside[11:].any()


@pytest.mark.parametrize("name", list_skeletons())
def test_a_mirrored_mirror_image_is_the_image(name: str) -> None:
    heatmaps, pafs, sign = _compute_mirror_channels(get_skeleton(name))
    assert (heatmaps[heatmaps] == np.arange(len(heatmaps))).all()
    assert (pafs[pafs] == np.arange(len(pafs))).all()
    assert (sign * sign[pafs] == 1).all()


def test_a_skeleton_that_cannot_be_mirrored_is_named() -> None:
    limbs = tuple(limb for limb in COCO18.limbs if (limb.a, limb.b) != (2, 3))
    limbs = tuple(limb._replace(paf_x=2 * i, paf_y=2 * i + 1) for i, limb in enumerate(limbs))
    with pytest.raises(ValueError, match="'coco18' cannot be mirrored: it has no limb right_shoulder to right_elbow"):
        _compute_mirror_channels(replace(COCO18, limbs=limbs))


def test_sizes_are_multiples_of_16() -> None:
    assert make_scaled_size(432, 368, 1.3) == (560, 480)
    assert make_scaled_size(432, 368, 0.01) == (16, 16)


@pytest.mark.parametrize("scales", [(), (0.1,), (5,), (float("nan"),), (1,) * 9])
def test_wrong_scales_are_refused(small_model: Path, scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"scales: expected 1 to 8 factors from 0\.25 to 4, got"):
        PoseEstimator(small_model, scales=scales)


def test_a_camera_pipeline_refuses_several_passes(small_model: Path) -> None:
    with pytest.raises(ValueError, match="without augment and scales"):
        Pipeline(SyntheticCamera(), PoseEstimator(small_model, augment=True))


def test_the_command_line_prints_the_number_of_inferences(
    dataset: Path, capfd: pytest.CaptureFixture[str], small_model: Path
) -> None:
    done = call_edgepose(capfd, "run", dataset / "images", "-m", small_model, "--augment")
    assert done.returncode == 0 and "(2 inferences with preprocessing " in done.stderr
    for text, problem in (("1,x", "expected factors such as 1,1.3, got '1,x'"), ("9", "from 0.25 to 4, got 9")):
        refused = call_edgepose(capfd, "run", dataset / "images", "--scales", text)
        assert refused.returncode == 2 and problem in refused.stderr
