"""Verification of a converted network: comparison with its source, accuracy, loss budget of mixed precision."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ...runtime import PoseEstimator
from ...runtime.decode import DecoderOptions
from ...runtime.model import container
from ...runtime.model.manifest import ModelManifest
from ..quantize.integer import Budget, QuantizedNetwork
from . import verify
from .coco import CocoDataset
from .diagnosis import Probe, ValueRange


@dataclass(frozen=True)
class Candidate:
    """Converted network before verification.

    Attributes:
        flatbuffer: TFLite file without a manifest.
        manifest: Manifest without results of the verification.
        load_reference: Loads the float source, after its repair.
        load_published_reference: Loads the source as it was published, None if it needed no repair.
        quantized: Result of the quantization, None for float precisions.
        load_probe: Loads the float source for the search for the cause of a failed sanity check; None if the network
            itself is used.
        pixels: Values that the source network gets for the pixels 0 to 255; None for those of the manifest.
    """

    flatbuffer: bytes
    manifest: ModelManifest
    load_reference: Callable[[], verify.Reference]
    load_published_reference: Callable[[], verify.Reference] | None = None
    quantized: QuantizedNetwork | None = None
    load_probe: Callable[[], Probe] | None = None
    pixels: ValueRange | None = None


def load_estimator(candidate: Candidate) -> PoseEstimator:
    """Load a network, with an estimator that keeps poses of any score."""
    return _load_estimator(candidate.flatbuffer, candidate.manifest)


def verify_candidate(
    candidate: Candidate, estimator: PoseEstimator, images: verify.ImageCollection, dataset: CocoDataset | None
) -> ModelManifest:
    """Compare a network with its source and add the results to its manifest.

    Args:
        candidate: Converted network.
        estimator: The same network, loaded by `load_estimator`.
        images: Images for the comparison of maps and poses.
        dataset: COCO dataset to compute the AP of the network and of its source, or None.

    Returns:
        The manifest with `verification`, and with `accuracy` if there is a dataset.
    """
    reference = candidate.load_reference()
    verification = verify.compare_with_reference(reference, estimator, images)
    if dataset is None:
        return replace(candidate.manifest, verification=verification)
    accuracy = verify.compute_accuracy(estimator, dataset)
    source_ap = verify.compute_reference_ap(reference, candidate.manifest, dataset, "scoring the source")
    published_ap = None
    if candidate.load_published_reference is not None:
        published = candidate.load_published_reference()
        published_ap = verify.compute_reference_ap(
            published, candidate.manifest, dataset, "scoring the source as published"
        )
    verification = replace(verification, source_ap=source_ap, published_ap=published_ap)
    return replace(candidate.manifest, verification=verification, accuracy=accuracy)


def make_loss_budget(
    describe: Callable[[bytes], ModelManifest],
    reference: verify.Reference,
    images: verify.ImageCollection,
    dataset: CocoDataset | None,
    max_drop: float,
) -> Budget:
    """Make the loss budget of `--precision auto`.

    Args:
        describe: Makes the manifest of a flatbuffer.
        reference: Float source.
        images: Images for the comparison of poses, if there is no dataset.
        dataset: COCO dataset; with it the loss is measured in points of AP, otherwise in percent of the source's poses
            that are lost.
        max_drop: Largest allowed loss, in the same unit.
    """
    source_ap: list[float] = []

    def loss(flatbuffer: bytes) -> float:
        manifest = describe(flatbuffer)
        estimator = _load_estimator(flatbuffer, manifest)
        if dataset is None:
            return 100 * (1 - verify.compare_with_reference(reference, estimator, images).pose_agreement)
        if not source_ap:
            source_ap.append(verify.compute_reference_ap(reference, manifest, dataset, "scoring the source"))
        return 100 * (source_ap[0] - verify.compute_accuracy(estimator, dataset).ap)

    return Budget(max_drop, "percent of the poses" if dataset is None else "points of AP", loss)


def _load_estimator(flatbuffer: bytes, manifest: ModelManifest) -> PoseEstimator:
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.tflite"
        container.write(path, flatbuffer, manifest)
        return PoseEstimator(path, options=DecoderOptions())
