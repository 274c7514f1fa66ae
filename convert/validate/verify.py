"""Comparison of a converted model with its float source: errors of the maps, agreement of the poses, AP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...runtime import PoseEstimator
from ...runtime.decode import Decoder
from ...runtime.io.messages import iterate_with_progress
from ...runtime.model.manifest import Accuracy, InputSpec, ModelManifest, Precision, Verification
from ...runtime.oks import count_matches, get_sigmas
from ...runtime.preprocess import Preprocessor
from ...runtime.types import Image, Pose, PoseFields, Quantization
from ..exporters import tensorflow
from ..exporters.tensorflow_quiet import import_tensorflow
from ..ir import graph as g
from .coco import CocoDataset

MIN_OKS = 0.85
"""Poses of source and model agree if their OKS is at least this value."""

MIN_KEYPOINTS = 5
"""Poses of the source with fewer keypoints are not compared."""


@dataclass(frozen=True)
class Tolerance:
    """Allowed loss of a conversion.

    Attributes:
        rmse: Largest allowed RMSE of heatmaps and PAFs.
        agreement: Smallest allowed share of the source's poses that agree, 0 to 1.
        ap: Largest allowed drop of the AP.
    """

    rmse: float
    agreement: float
    ap: float


TOLERANCES: dict[Precision, Tolerance] = {
    "float32": Tolerance(rmse=1e-4, agreement=0.99, ap=0.002),
    "float16": Tolerance(rmse=2e-3, agreement=0.97, ap=0.005),
    "dynamic": Tolerance(rmse=2e-2, agreement=0.90, ap=0.02),
    "int8": Tolerance(rmse=1e-2, agreement=0.90, ap=0.015),
    "int16x8": Tolerance(rmse=1e-2, agreement=0.90, ap=0.015),
    "auto": Tolerance(rmse=1e-2, agreement=0.90, ap=0.015),
    "unknown": Tolerance(rmse=1e-6, agreement=1.0, ap=0.0),
}
"""`unknown` is the precision of a TFLite source, which is not converted."""


class ImageCollection(Protocol):
    """Collection of images, uint8 (height, width, 3) BGR."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Image]: ...


class Reference(Protocol):
    """Float source of a conversion."""

    def infer(self, image: Image) -> PoseFields:
        """Compute heatmaps and PAFs of an image, uint8 (height, width, 3) BGR."""
        ...


class GraphReference:
    """Source graph, run in TensorFlow with the operators as they were imported."""

    def __init__(self, graph: g.Graph, spec: InputSpec) -> None:
        tf = import_tensorflow()
        self._preprocessor = Preprocessor(spec.width, spec.height, spec.resize, "bgr")
        self._input = np.zeros((1, spec.height, spec.width, 3), np.float32)

        def network(image: Any) -> tuple[Any, Any]:
            results = tensorflow.run_graph(graph, image)
            return results[graph.heatmaps], results[graph.pafs]

        signature = [tf.TensorSpec(self._input.shape, tf.float32)]
        self._run = tf.function(network, input_signature=signature, autograph=False)

    def infer(self, image: Image) -> PoseFields:
        """Compute heatmaps and PAFs of an image, uint8 (height, width, 3) BGR."""
        self._preprocessor.prepare(image, "bgr", self._input[0])
        heatmaps, pafs = self._run(self._input)
        return PoseFields(heatmaps.numpy()[0], pafs.numpy()[0])


@dataclass
class _ErrorStatistics:
    """Error of one output over all images.

    Attributes:
        channels: Channels that count for the SQNR. The background, the last channel of the heatmaps, does not count,
            because it is large everywhere.
        squares: Sum of the squared errors of all channels.
        signal: Sum of the squared reference values of `channels`.
        noise: Sum of the squared errors of `channels`.
        count: Number of values.
        largest: Largest absolute error.
    """

    channels: int
    squares: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    count: int = 0
    largest: float = 0.0

    def add(self, reference: npt.NDArray[Any], values: npt.NDArray[Any], quantization: Quantization) -> None:
        real = (values.astype(np.float64) - quantization.zero_point) * quantization.scale
        difference = real - reference
        self.squares += float(np.square(difference).sum())
        self.signal += float(np.square(reference[..., : self.channels].astype(np.float64)).sum())
        self.noise += float(np.square(difference[..., : self.channels]).sum())
        self.count += difference.size
        self.largest = max(self.largest, float(np.abs(difference).max()))

    @property
    def rmse(self) -> float:
        return float(np.sqrt(self.squares / max(1, self.count)))

    @property
    def sqnr_db(self) -> float | None:
        """Signal-to-quantization-noise ratio; None if signal or noise is zero."""
        return 10 * float(np.log10(self.signal / self.noise)) if self.noise and self.signal else None


def compare_with_reference(reference: Reference, estimator: PoseEstimator, images: ImageCollection) -> Verification:
    """Compare maps and poses of a model with those of its source on the same images.

    Args:
        reference: Float source.
        estimator: Converted model.
        images: Images to compare on.
    """
    manifest = estimator.manifest
    decoder = Decoder(*manifest.grid, manifest.skeleton_table)
    keypoint_sigmas = get_sigmas(manifest.skeleton_table)
    heatmaps, pafs = (
        _ErrorStatistics(len(manifest.skeleton_table.keypoints)),
        _ErrorStatistics(manifest.skeleton_table.paf_channels),
    )
    agreed = people = 0
    for image in iterate_with_progress(images, "comparing with the source", "image"):
        expected = reference.infer(image)
        result = estimator.infer(image)
        heatmaps.add(expected.heatmaps, result.heatmaps, result.heatmap_quantization)
        pafs.add(expected.pafs, result.pafs, result.paf_quantization)
        to_frame = estimator.compute_grid_to_frame(image)
        found = decoder.decode(result, to_frame)
        del result
        truth = decoder.decode(expected, to_frame)
        matches, compared = count_matches(truth, found, keypoint_sigmas, min_oks=MIN_OKS, min_keypoints=MIN_KEYPOINTS)
        agreed += matches
        people += compared
    return Verification(
        images=len(images),
        heatmaps_rmse=heatmaps.rmse,
        heatmaps_max=heatmaps.largest,
        pafs_rmse=pafs.rmse,
        pafs_max=pafs.largest,
        pose_agreement=agreed / people if people else 1.0,
        people=people,
        heatmaps_sqnr_db=heatmaps.sqnr_db,
        pafs_sqnr_db=pafs.sqnr_db,
    )


def compute_reference_ap(
    reference: Reference, manifest: ModelManifest, dataset: CocoDataset, description: str
) -> float:
    """Compute the AP of the float source with the same decoder; `description` is the label of the progress bar."""
    decoder = Decoder(*manifest.grid, manifest.skeleton_table)
    spec = manifest.input
    geometry = Preprocessor(spec.width, spec.height, spec.resize, "bgr")

    def estimate(image: Image) -> tuple[Pose, ...]:
        to_frame = geometry.compute_grid_to_frame(image.shape[1], image.shape[0], manifest.stride)
        return decoder.decode(reference.infer(image), to_frame)

    return dataset.score(estimate, description).ap


def compute_accuracy(estimator: PoseEstimator, dataset: CocoDataset) -> Accuracy:
    """Compute the AP of the converted model."""
    result = dataset.score(estimator.estimate, "scoring the converted model")
    return Accuracy(result.ap, result.ap50, result.images, dataset.name, estimator.interpreter_name)


def find_shortfalls(precision: Precision, verification: Verification, accuracy: Accuracy | None) -> list[str]:
    """List the results that are outside the tolerance of the precision, one sentence each; empty if there are none."""
    allowed = TOLERANCES[precision]
    problems = []
    for name, rmse in (("heatmaps", verification.heatmaps_rmse), ("PAFs", verification.pafs_rmse)):
        if not rmse <= allowed.rmse:
            problems.append(f"RMSE of the {name} is {rmse:.2e}; {precision} allows {allowed.rmse:.0e}")
    if verification.pose_agreement < allowed.agreement:
        agreement = f"{verification.pose_agreement:.1%} of {verification.people} people"
        problems.append(f"poses agree for {agreement}; {precision} needs {allowed.agreement:.0%}")
    if accuracy is not None and verification.source_ap is not None:
        lost = verification.source_ap - accuracy.ap
        if lost > allowed.ap:
            problems.append(f"AP fell by {lost:.4f}; {precision} allows {allowed.ap}")
    return problems
