"""Comparison of a converted model with its float source: errors of the maps, agreement of the poses, AP.

What the results mean is decided in `verdict`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...runtime import PoseEstimator
from ...runtime.decode import Decoder
from ...runtime.io.messages import iterate_with_progress
from ...runtime.model.manifest import Accuracy, InputSpec, ModelManifest, Verification
from ...runtime.oks import count_matches, get_sigmas
from ...runtime.preprocess import Preprocessor
from ...runtime.types import ChannelOrder, Image, Pose, PoseFields, Quantization
from ..exporters import tensorflow
from ..exporters.tensorflow_quiet import import_tensorflow
from ..ir import graph as g
from .agreement import PoseAgreement
from .coco import CocoDataset

MIN_OKS = 0.85
"""Poses of source and model agree if their OKS is at least this value."""

MIN_KEYPOINTS = 5
"""Poses of the source with fewer keypoints are not compared."""


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
        return self.infer_values(self.prepare_values(image, "bgr"))

    def prepare_values(self, image: Image, channel_order: ChannelOrder) -> npt.NDArray[np.float32]:
        """Resize an image to the input of the network: (height, width, 3) float32, 0 to 255. Valid until the next."""
        self._preprocessor.prepare(image, channel_order, self._input[0])
        return np.asarray(self._input[0])

    def infer_values(self, values: npt.NDArray[np.float32]) -> PoseFields:
        """Compute heatmaps and PAFs of (height, width, 3) values, which replace an image."""
        heatmaps, pafs = self._run(values[np.newaxis])
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
    agreement = PoseAgreement(keypoint_sigmas)
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
        agreement.add(truth, found)
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
        pose_ap=agreement.compute_ap(),
        pose_weight=agreement.weight,
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
