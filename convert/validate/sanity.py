"""Sanity check of every conversion: does the model find the people of the synthetic scenes?

No images of the user are needed. A model that fails is broken, or it was converted with a wrong value range, channel
order or output order; `diagnosis` finds out which. A model with a small input that finds no people is not
judged: people are too small for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...runtime import PoseEstimator
from ...runtime.decode import Decoder, DecoderOptions
from ...runtime.errors import ModelError
from ...runtime.model.manifest import InputSpec
from ...runtime.preprocess import Preprocessor
from ...runtime.synthetic import has_figure
from ...runtime.types import ChannelOrder, Image, Pose, PoseFields
from . import diagnosis, scene_check
from .diagnosis import Cause, Probe, ValueRange
from .scene_check import FloatArray, SceneResult, SceneScore

MIN_SIDE_PX = 192
"""Shortest side from which a network must find people. At 160x160, `mobilenet_v2_small` finds one in four."""
_MIN_CHECKED_SIDE_PX = 96
"""With a shorter side, a person is a few cells of the maps: nothing is checked."""
_MIN_SHARE = 0.25
"""Share of the people that a model must find. Published networks find half at 192x192, and all from 432x368."""
_CLEAR_SHARE = 0.75
"""From this share on, only the channel order is checked."""
_MAX_HEATMAP, _MIN_HEATMAP = 2.0, -1.0
"""Published networks: 1.04 and -0.15."""
_MAX_POSES = 8.0
"""Largest mean number of poses per scene, of one or two people. Published networks: 2."""
_COUNTED_SCORE = 0.1
_MIN_VARIATION = 1e-4
_MAX_BORDER_SHARE = 0.5

Status = Literal["passed", "failed", "not checked"]


@dataclass(frozen=True)
class SanityResult:
    """Result of the sanity check.

    Attributes:
        status: `not checked` if the check says nothing about the model.
        text: What was found, or why it was not checked.
        causes: Likely causes of a failure; empty if none is known.
    """

    status: Status
    text: str
    causes: tuple[Cause, ...] = ()


UNTRAINED = SanityResult("not checked", "not checked for people: the weights are random")


class EstimatorProbe:
    """Converted model with a float input, as a network for the search for a cause."""

    def __init__(self, estimator: PoseEstimator) -> None:
        spec = estimator.manifest.input
        self._estimator = estimator
        self._preprocessor = Preprocessor(spec.width, spec.height, spec.resize, spec.channel_order)
        ranges = np.array(spec.channel_ranges or (spec.value_range,), np.float32)
        self._low, self._high = ranges[:, 0], ranges[:, 1]
        self._values = np.zeros((spec.height, spec.width, 3), np.float32)

    def prepare_values(self, image: Image, channel_order: ChannelOrder) -> FloatArray:
        """Resize an image to the input of the network: (height, width, 3), values 0 to 255."""
        self._preprocessor.prepare(image, channel_order, self._values)
        return self._values

    def infer_values(self, values: FloatArray) -> PoseFields:
        """Run the network on (height, width, 3) values, which become those of the value ranges of the manifest."""
        scaled = values * ((self._high - self._low) / 255) + self._low
        buffer = self._estimator.create_input_buffer()
        np.copyto(buffer, scaled if buffer.shape == scaled.shape else scaled.transpose(2, 0, 1))
        return self._estimator.infer_prepared(buffer)


def check_sanity(
    estimator: PoseEstimator, load_source: Callable[[], Probe] | None = None, current: ValueRange | None = None
) -> SanityResult:
    """Check that a model finds the people of the synthetic scenes, and name the likely cause if not.

    Args:
        estimator: The converted model.
        load_source: Loads the float source for the search for the cause. Default: the model itself, if it has a float
            input.
        current: Pixel values that the source network gets. Default: those of the manifest.

    Returns:
        The result; `not checked` for a skeleton such as that of a hand, and for small models that find no people.
    """
    manifest = estimator.manifest
    if not has_figure(manifest.skeleton_table):
        return _check_values(estimator)
    size = f"{manifest.input.width}x{manifest.input.height}"
    shortest = min(manifest.input.width, manifest.input.height)
    if shortest < _MIN_CHECKED_SIDE_PX:
        return SanityResult("not checked", f"not checked for people: they are too small at {size}")
    check = _Check(estimator)
    try:
        results = check.run("bgr")
    except ModelError as error:
        return SanityResult("failed", str(error), (_find_overflow(manifest.precision),))
    score = scene_check.summarize(results)
    problem = _find_problem(results, check.decoder)
    text = f"{score.found} of {score.people} people found in the synthetic scenes"
    if problem is None and shortest < MIN_SIDE_PX and score.share < _CLEAR_SHARE:
        return SanityResult("not checked", f"not checked for people: they are too small at {size} ({text})")
    if problem is None and score.share >= _CLEAR_SHARE:
        swapped = scene_check.summarize(check.run("rgb"))
        if diagnosis.prefers_other_order(score, swapped):
            return SanityResult(
                "failed", f"{text}, {swapped.found} with red and blue exchanged", (diagnosis.OTHER_ORDER,)
            )
        return SanityResult("passed", text)
    causes = _find_causes(check, score, load_source, current)
    if problem is None and score.share >= _MIN_SHARE and not causes:
        return SanityResult("passed", text)
    return SanityResult("failed", problem or text, causes)


def _check_values(estimator: PoseEstimator) -> SanityResult:
    """Check the values of the maps of a network whose keypoints the people of the scenes do not have."""
    manifest = estimator.manifest
    check = _Check(estimator)
    try:
        problem = _find_value_problem(check.run("bgr"), check.decoder)
    except ModelError as error:
        return SanityResult("failed", str(error), (_find_overflow(manifest.precision),))
    if problem is not None:
        return SanityResult("failed", problem)
    return SanityResult(
        "not checked",
        f"not checked for people: those of the synthetic scenes do not have the keypoints of {manifest.skeleton}",
    )


class _Check:
    """A model with its scenes and its decoder, which keeps poses of any score."""

    def __init__(self, estimator: PoseEstimator) -> None:
        manifest = estimator.manifest
        self.estimator = estimator
        self.scenes = scene_check.render_scenes(manifest.input.width, manifest.input.height, manifest.skeleton_table)
        self.decoder = Decoder(*manifest.grid, manifest.skeleton_table, DecoderOptions())
        self.to_frame = estimator.compute_grid_to_frame

    def run(self, order: ChannelOrder) -> list[SceneResult]:
        """Run the model on all scenes. With `rgb`, red and blue are exchanged, because the scenes are BGR."""
        return scene_check.run_scenes(
            self.scenes, lambda image: self.estimator.infer(image, order), self.decoder, self.to_frame
        )


def _find_problem(results: Sequence[SceneResult], decoder: Decoder) -> str | None:
    """Find values and poses that no network for people gives, whoever is in the image."""
    if (problem := _find_value_problem(results, decoder)) is not None:
        return problem
    poses = _list_poses(results)
    if poses and np.mean([_measure_border(result, pose.keypoints) for result, pose in poses]) > _MAX_BORDER_SHARE:
        return "the keypoints lie at the border of the image"
    return None


def _find_value_problem(results: Sequence[SceneResult], decoder: Decoder) -> str | None:
    """Find values that no network gives, whatever its keypoints are."""
    keypoint_count = len(decoder.skeleton.keypoints)
    highest = max(float(result.heatmaps[:, :, :keypoint_count].max()) for result in results)
    lowest = min(float(result.heatmaps[:, :, :keypoint_count].min()) for result in results)
    if highest > _MAX_HEATMAP or lowest < _MIN_HEATMAP:
        return f"scores out of range: the heatmaps have values from {lowest:.3g} to {highest:.3g}, expected 0 to 1"
    variation = max(float(np.ptp(result.heatmaps, axis=(0, 1)).max()) for result in results)
    if variation < _MIN_VARIATION:
        return "constant maps: the heatmaps have the same values everywhere, whatever the image shows"
    poses = _list_poses(results)
    if len(poses) > _MAX_POSES * len(results):
        people = scene_check.count_people()
        return f"too many people: {len(poses)} poses in scenes with {people} people"
    return None


def _list_poses(results: Sequence[SceneResult]) -> list[tuple[SceneResult, Pose]]:
    return [(result, pose) for result in results for pose in result.poses if pose.score >= _COUNTED_SCORE]


def _measure_border(result: SceneResult, keypoints: FloatArray) -> float:
    """Compute the share of the keypoints of a pose that are within one cell of the border."""
    height, width = result.frame.image.shape[:2]
    cell = max(height / result.heatmaps.shape[0], width / result.heatmaps.shape[1])
    x, y, _ = keypoints[keypoints[:, 2] > 0].T
    return float(np.mean((x < cell) | (y < cell) | (x > width - cell) | (y > height - cell)))


def _find_causes(
    check: _Check, score: SceneScore, load_source: Callable[[], Probe] | None, current: ValueRange | None
) -> tuple[Cause, ...]:
    spec = check.estimator.manifest.input
    if load_source is not None:
        probe: Probe = load_source()
    elif spec.dtype == "float32":
        probe, current = EstimatorProbe(check.estimator), current or _read_value_range(spec)
    else:
        swapped = scene_check.summarize(check.run("rgb"))
        return (diagnosis.OTHER_ORDER,) if diagnosis.prefers_other_order(score, swapped) else ()
    causes, source = diagnosis.find_cause(
        probe, check.scenes, check.decoder, check.to_frame, current or diagnosis.VALUE_RANGES[0]
    )
    if not causes and load_source is not None and source.share >= 0.5 and score.share < _MIN_SHARE:
        return (_describe_loss(source, check.estimator.manifest.precision),)
    return causes


def _read_value_range(spec: InputSpec) -> ValueRange:
    """Return the pixel values that a model gets by its manifest."""
    if spec.channel_ranges is None:
        return ValueRange.between(*spec.value_range)
    low, high = np.array(spec.channel_ranges if spec.channel_order == "rgb" else spec.channel_ranges[::-1]).T
    scale = 255 / (high - low)
    return ValueRange.from_normalization((-low * scale).tolist(), scale.tolist())


def _describe_loss(source: SceneScore, precision: str) -> Cause:
    advice = "please report this with the source"
    if precision not in ("float32", "float16"):
        advice = "convert with --precision float16, or auto with more calibration images that show people"
    return Cause(
        f"the conversion to {precision}: the float source finds {source.found} of {source.people} people", advice
    )


def _find_overflow(precision: str) -> Cause:
    if precision == "float16":
        return Cause("numbers too large for float16", "convert with --precision float32")
    return Cause("value range, or damaged weights", "check the value range that the network expects")
