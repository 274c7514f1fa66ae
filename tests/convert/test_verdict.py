"""Agreement of poses, sanity check and verdict."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepose.convert.validate import diagnosis, sanity, scene_check, score_threshold, sqnr_chart
from edgepose.convert.validate.agreement import PoseAgreement
from edgepose.convert.validate.diagnosis import Cause, ValueRange
from edgepose.convert.validate.layer_errors import MapError
from edgepose.convert.validate.report import choose_path
from edgepose.convert.validate.sanity import SanityResult
from edgepose.convert.validate.verdict import MAX_AP_LOSS, MIN_POSE_AP, Evidence, judge
from edgepose.runtime import PoseEstimator
from edgepose.runtime.decode import DecoderOptions
from edgepose.runtime.model.manifest import Accuracy, Verification
from edgepose.runtime.oks import get_sigmas
from edgepose.runtime.preprocess import Preprocessor
from edgepose.runtime.skeleton import COCO18, Skeleton, get_skeleton, list_skeletons
from edgepose.runtime.synthetic import Scene, has_figure
from edgepose.runtime.synthetic.fields import render_fields
from edgepose.runtime.types import ChannelOrder, Image, Pose, PoseFields

SIGMAS = get_sigmas(COCO18)
SANE = SanityResult("passed", "10 of 10 people found in the synthetic scenes")


def make_pose(score: float, x: float = 0.0, noise_px: float = 0.0, seed: int = 0) -> Pose:
    points = Scene(1, 200, 200, seed=seed).render_frame(0).keypoints[0] + (x, 0)
    moved = points + np.random.default_rng(seed).normal(0, 1, points.shape) * noise_px
    return Pose(np.concatenate((moved, np.ones((18, 1))), axis=1).astype(np.float32), score)


def measure(*images: tuple[list[Pose], list[Pose]]) -> float | None:
    agreement = PoseAgreement(SIGMAS)
    for truth, found in images:
        agreement.add(truth, found)
    return agreement.compute_ap()


def test_equal_poses_agree_and_none_is_no_evidence() -> None:
    people = [make_pose(0.8), make_pose(0.3, 300, seed=1)]
    assert measure((people, people)) == pytest.approx(1.0)
    assert measure((people, [])) == 0.0
    assert measure(([], [])) is None
    assert measure(([], people)) is None


def test_poses_count_with_their_scores() -> None:
    strong, weak = make_pose(0.9), make_pose(0.1, 300, seed=1)
    lost_weak, lost_strong = measure(([strong, weak], [strong])), measure(([strong, weak], [weak]))
    assert lost_weak == pytest.approx(0.9, abs=0.02)
    assert lost_strong == pytest.approx(0.1, abs=0.02)
    false_weak, false_strong = make_pose(0.05, 900, seed=2), make_pose(0.95, 900, seed=2)
    assert measure(([strong], [strong, false_weak])) == pytest.approx(1.0), "a false pose after all true ones"
    assert measure(([strong], [false_strong, strong])) == pytest.approx(0.9 / (0.9 + 0.95), abs=0.01)


def test_a_pose_matches_one_person_and_accuracy_counts() -> None:
    pose = make_pose(0.5)
    doubled = measure(([pose, make_pose(0.5, 300, seed=1)], [pose, pose]))
    assert doubled == pytest.approx(0.5, abs=0.02)
    noisy = [measure(([make_pose(0.5)], [make_pose(0.5, noise_px=noise)])) for noise in (1.0, 4.0, 8.0, 40.0)]
    assert noisy == sorted(noisy, reverse=True)  # type: ignore[type-var]
    assert noisy[0] == pytest.approx(1.0)
    assert noisy[-1] == 0.0


def verification(**values: object) -> Verification:
    base = Verification(100, 0.01, 0.1, 0.01, 0.1, 0.9, 200, pose_ap=0.9, pose_weight=80.0)
    return replace(base, **values)  # type: ignore[arg-type]


def accuracy(ap: float, images: int = 100) -> Accuracy:
    return Accuracy(ap, ap, images, "val", "test")


def test_the_loss_of_ap_decides_if_there_are_annotations() -> None:
    compared = verification(source_ap=0.3, pose_ap=0.5)
    good = judge(Evidence("int8", SANE, compared, accuracy(0.3 - MAX_AP_LOSS + 1e-6)))
    assert good.ok
    assert not good.doubts
    bad = judge(Evidence("int8", SANE, compared, accuracy(0.28), calibration_images=10))
    assert not bad.ok
    assert "loses 2.00 points" in bad.reason
    assert any("--precision auto --max-drop 0.5" in line for line in bad.advice)
    assert any("about 50 calibration images with people (now 10)" in line for line in bad.advice)
    assert judge(Evidence("int8", SANE, compared, accuracy(0.4))).ok, "better than the source"
    assert not judge(Evidence("int8", SANE, verification(source_ap=0.0), accuracy(0.0))).ok, "nobody is found"


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_the_agreement_decides_without_annotations(precision: str) -> None:
    limit = MIN_POSE_AP[precision]  # type: ignore[index]
    for pose_ap, ok in ((limit, True), (limit - 0.01, False)):
        evidence = Evidence(precision, SANE, verification(pose_ap=pose_ap))  # type: ignore[arg-type]
        assert judge(evidence).ok is ok


def test_nobody_is_no_evidence_and_few_people_are_a_doubt() -> None:
    nobody = judge(Evidence("float32", SANE, verification(pose_ap=None, people=0, pose_agreement=1.0)))
    assert not nobody.ok
    assert "no evidence: the source finds nobody clearly in 100 images" in nobody.reason
    ghost = judge(Evidence("int8", SANE, verification(pose_ap=0.0, pose_weight=0.2, people=1)))
    assert not ghost.ok
    assert ghost.reason == nobody.reason
    assert any("images that show people" in line for line in nobody.advice)
    few = judge(Evidence("float32", SANE, verification(pose_ap=1.0, pose_weight=1.0, people=2)))
    assert few.is_accepted(strict=False)
    assert not few.is_accepted(strict=True)
    small = verification(pose_ap=0.6, pose_weight=3.0, people=12)
    assert judge(Evidence("int8", SANE, small)).doubts, "a small model: one lost person is much"
    assert judge(Evidence("int8", SANE, small)).ok
    assert not judge(Evidence("int8", SANE, replace(small, pose_ap=0.4))).ok
    fitted = judge(Evidence("int8", SANE, verification(), has_own_images=False))
    assert fitted.ok
    assert any("calibration images" in doubt for doubt in fitted.doubts)


def test_a_failed_sanity_check_is_negative_whatever_the_comparison_says() -> None:
    cause = Cause("value range: the network expects pixels 0 to 1, and gets 0 to 255", "convert with --value-range 0 1")
    insane = SanityResult("failed", "0 of 10 people found in the synthetic scenes", (cause,))
    result = judge(Evidence("float32", insane, verification(pose_ap=1.0)))
    assert not result.ok
    assert cause.text in result.reason
    assert result.advice == (cause.advice,)
    unknown = SanityResult("failed", "0 of 10 people found in the synthetic scenes")
    assert not judge(Evidence("float32", unknown)).ok
    other_images = judge(Evidence("float32", unknown, verification(source_ap=0.4), accuracy(0.4)))
    assert other_images.ok, "a good AP on annotated images counts more"
    assert other_images.doubts


def test_without_images_a_model_passes_with_a_doubt() -> None:
    alone = judge(Evidence("float32", SANE))
    assert alone.ok
    assert not alone.is_accepted(strict=True)
    assert next(iter(alone.format_lines())) == f"verdict: passed: {SANE.text}"
    assert "exit code" not in " ".join(alone.format_lines())
    assert "the exit code is 1" in list(alone.format_lines(strict=True))[-1], "passed, but refused: says why"
    assert judge(Evidence("float32", sanity.UNTRAINED, untrained=True)).ok


class WrappedModel:
    """The default model as a network that expects other images or has other outputs."""

    def __init__(
        self,
        change_input: Callable[[np.ndarray], np.ndarray] = lambda values: values,
        change_output: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] = lambda h, p: (h, p),
    ) -> None:
        self.estimator = PoseEstimator(options=DecoderOptions())
        self.manifest = self.estimator.manifest
        spec = self.manifest.input
        self.change_input, self.change_output = change_input, change_output
        self.preprocessor = Preprocessor(spec.width, spec.height, spec.resize, spec.channel_order)
        self.compute_grid_to_frame = self.estimator.compute_grid_to_frame

    def prepare_values(self, image: Image, channel_order: ChannelOrder) -> np.ndarray:
        values = np.zeros((self.manifest.input.height, self.manifest.input.width, 3), np.float32)
        self.preprocessor.prepare(image, channel_order, values)
        return values

    def infer_values(self, values: np.ndarray) -> PoseFields:
        pixels = np.clip(np.round(self.change_input(values)), 0, 255) - 128
        fields = self.estimator.infer_prepared(np.ascontiguousarray(pixels.astype(np.int8)))
        real = [
            (np.asarray(maps, np.float32) - quantization.zero_point) * np.float32(quantization.scale)
            for maps, quantization in (
                (fields.heatmaps, fields.heatmap_quantization), (fields.pafs, fields.paf_quantization)
            )
        ]  # fmt: skip
        return PoseFields(*map(np.ascontiguousarray, self.change_output(*real)))

    def infer(self, image: Image, channel_order: ChannelOrder = "bgr") -> PoseFields:
        return self.infer_values(self.prepare_values(image, channel_order))


def check(model: WrappedModel | IdealModel, current: ValueRange | None = None) -> SanityResult:
    return sanity.check_sanity(model, lambda: model, current)  # type: ignore[arg-type]


def join_pafs_first(heatmaps: np.ndarray, pafs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    joined = np.concatenate((pafs, heatmaps), axis=2)
    return joined[:, :, :19], joined[:, :, 19:]


def test_the_default_model_is_sane() -> None:
    estimator = PoseEstimator(options=DecoderOptions())
    assert sanity.check_sanity(estimator).status == "passed"
    assert check(WrappedModel()).status == "passed"


class IdealModel:
    """Network with the exact maps of the synthetic people, in any skeleton."""

    def __init__(self, skeleton: Skeleton, change: Callable[[np.ndarray], np.ndarray] = lambda pafs: pafs) -> None:
        estimator = PoseEstimator()
        self.skeleton, self.change = skeleton, change
        self.manifest = replace(estimator.manifest, skeleton=skeleton.name, skeleton_definition=skeleton)
        self.compute_grid_to_frame = estimator.compute_grid_to_frame
        size = self.manifest.input.width, self.manifest.input.height
        self.frames = scene_check.render_scenes(*size, skeleton)
        self.shown = 0

    def prepare_values(self, image: Image, channel_order: ChannelOrder) -> np.ndarray:
        self.shown = next(i for i, frame in enumerate(self.frames) if np.array_equal(frame.image, image))
        return np.zeros((8, 8, 3), np.float32)

    def infer_values(self, values: np.ndarray) -> PoseFields:
        frame, (rows, columns) = self.frames[self.shown], self.manifest.grid
        cells = frame.keypoints / np.array(self.compute_grid_to_frame(frame.image)[:2]) - 0.5
        heatmaps, pafs = render_fields(cells.astype(np.float32), rows, columns, self.skeleton)
        return PoseFields(heatmaps, np.ascontiguousarray(self.change(pafs)))

    def infer(self, image: Image, channel_order: ChannelOrder = "bgr") -> PoseFields:
        return self.infer_values(self.prepare_values(image, channel_order))


class HandModel(IdealModel):
    """Network for hands that sees none in the scenes: small values everywhere, times `gain`."""

    def __init__(self, gain: float) -> None:
        super().__init__(get_skeleton("hand21"))
        self.gain = gain

    def infer(self, image: Image, channel_order: ChannelOrder = "bgr") -> PoseFields:
        rows, columns = self.manifest.grid
        counts = self.skeleton.heatmap_channels, self.skeleton.paf_channels
        rng = np.random.default_rng(1)
        return PoseFields(*(self.gain * rng.standard_normal((rows, columns, n), np.float32) for n in counts))


def test_the_values_of_other_keypoints_are_checked() -> None:
    found = check(HandModel(0.01))
    assert (found.status, "do not have the keypoints of hand21" in found.text) == ("not checked", True)
    for gain, words in ((10.0, "scores out of range"), (0.0, "constant maps"), (np.nan, "NaN")):
        found = check(HandModel(gain))
        assert (found.status, words in found.text) == ("failed", True)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("name", list_skeletons())
def test_people_are_looked_for_in_their_skeleton(name: str, background: bool) -> None:
    skeleton = get_skeleton(name).with_background(background)
    if not has_figure(skeleton):
        pytest.skip("the people of the scenes do not have these keypoints")
    found = check(IdealModel(skeleton))
    assert found == SanityResult("passed", "10 of 10 people found in the synthetic scenes")
    backward = check(IdealModel(skeleton, lambda pafs: -pafs))
    assert (backward.status, len(backward.causes)) == ("failed", 1)
    assert "they point from the second keypoint" in backward.causes[0].text


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: WrappedModel(lambda v: v * 255), "value range: the network expects pixels 0 to 1,"),
        (lambda: WrappedModel(lambda v: (v + 1) * 127.5), "value range: the network expects pixels -1 to 1,"),
        (lambda: WrappedModel(change_output=join_pafs_first), "output order: the PAFs come first"),
        (lambda: WrappedModel(change_output=lambda h, p: (np.roll(h, 1, axis=2), p)), "the background; expected the"),
        (lambda: WrappedModel(change_output=lambda h, p: (h, -p)), "PAFs: they point from the second keypoint"),
        (lambda: WrappedModel(change_output=lambda h, p: (h / 20, p / 20)), "scale of the outputs"),
        (lambda: WrappedModel(change_output=lambda h, p: (h[:, :, [*range(17, -1, -1), 18]], p)), "order of the key"),
    ],
)  # fmt: skip
def test_the_cause_of_a_failure_is_named(model: Callable[[], WrappedModel], words: str) -> None:
    result = check(model())
    assert result.status == "failed", result
    assert any(words in cause.text for cause in result.causes), result


def test_a_wrong_value_range_of_the_user_is_named() -> None:
    """The network expects 0 to 255, but the user said 0 to 1: the graph divides by 255."""
    result = check(WrappedModel(lambda v: v / 255), ValueRange.between(0, 1))
    assert result.status == "failed"
    assert [cause.advice for cause in result.causes] == ["convert with --value-range 0 255"]


def test_a_value_range_is_a_normalization() -> None:
    assert ValueRange.between(-1, 1).mean == (127.5,) * 3
    assert ValueRange.from_normalization((127.5,), (127.5,)).scale == ValueRange.between(-1, 1).scale


def test_maps_that_no_network_gives_are_named() -> None:
    constant = check(WrappedModel(change_output=lambda h, p: (np.zeros_like(h), p)))
    assert (constant.status, "constant maps" in constant.text) == ("failed", True)
    loud = check(WrappedModel(change_output=lambda h, p: (h * 5, p)))
    assert (loud.status, "scores out of range" in loud.text) == ("failed", True)
    broken = check(WrappedModel(change_output=lambda h, p: (h * np.nan, p)))
    assert (broken.status, "NaN" in broken.text) == ("failed", True)


def test_another_channel_order_is_preferred_only_if_it_is_much_better() -> None:
    from edgepose.convert.validate.scene_check import SceneScore

    now = SceneScore(10, 8, 0.4)
    assert diagnosis.prefers_other_order(now, SceneScore(10, 10, 0.7))
    assert not diagnosis.prefers_other_order(now, SceneScore(10, 10, 0.45))
    assert not diagnosis.prefers_other_order(SceneScore(10, 0, 0.0), SceneScore(10, 2, 0.1))


def test_the_synthetic_minimum_score_is_two_limbs_or_more() -> None:
    estimator = PoseEstimator(options=DecoderOptions())
    chosen = score_threshold.choose_min_score(estimator, None)
    assert chosen.value == score_threshold.LOWEST_SYNTHETIC
    assert "two clear limbs; --empty DIR" in chosen.origin


def test_the_report_has_its_own_name(tmp_path: Path) -> None:
    assert choose_path(tmp_path, Path("out/pose.tflite")) == tmp_path / "pose.report.html"
    assert choose_path(tmp_path / "r.html", Path("out/pose.tflite")) == tmp_path / "r.html"


def test_labels_of_the_chart_name_the_layer() -> None:
    from edgepose.convert.quantize.plan import compute_quant_params

    params = compute_quant_params(-1, 1, "int8")
    names = {
        "Openpose/MConv_Stage1_L2_5_pointwise/Conv2D": ">…/MConv_Stage1_L2_5_pointwise<",
        "MobilenetV2/expanded_conv_1/project/Conv2D": ">…/expanded_conv_1/project<",
        "stage/Relu": ">stage/Relu<",
        "x" * 40: f">…{'x' * 31}<",
    }
    chart = sqnr_chart.draw_chart([MapError(name, 30, 40, params) for name in names])
    for label in names.values():
        assert label in chart


def test_labels_of_the_chart_never_overlap() -> None:
    from edgepose.convert.quantize.plan import compute_quant_params

    params = compute_quant_params(-1, 1, "int8")
    errors = [MapError(f"stage1/layer_with_a_long_name_{i}<&>", 30 + i % 7, 40 - i % 11, params) for i in range(150)]
    chart = sqnr_chart.draw_chart(errors)
    places = [float(x) for x in re.findall(r"translate\(([\d.]+),", chart)]
    assert len(places) > 20
    assert min(b - a for a, b in itertools.pairwise(places)) >= 15
    assert "<&>" not in chart
