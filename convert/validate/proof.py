"""A network that was made, and the proof that it does what its source does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ...runtime import PoseEstimator
from ...runtime.model import container
from ...runtime.model.manifest import ModelManifest
from ..quantize.integer import Budget, Quantized
from . import verify
from .coco import CocoDataset


@dataclass(frozen=True)
class Candidate:
    """A converted network before it is verified; `published` is the source as it was, where it had to be repaired."""

    flatbuffer: bytes
    manifest: ModelManifest
    reference: Callable[[], verify.Reference]
    published: Callable[[], verify.Reference] | None = None
    integers: Quantized | None = None


def verify_candidate(candidate: Candidate, images: verify.Images, dataset: CocoDataset | None) -> ModelManifest:
    """The manifest with the figures of the comparison in it."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.tflite"
        container.write(path, candidate.flatbuffer, candidate.manifest)
        estimator = PoseEstimator(path)
        reference = candidate.reference()
        figures = verify.compare(reference, estimator, images)
        if dataset is None:
            return replace(candidate.manifest, verification=figures)
        accuracy = verify.score(estimator, dataset)
        source_ap = verify.score_reference(reference, candidate.manifest, dataset, "scoring the source")
        published_ap = None
        if candidate.published is not None:
            published = candidate.published()
            published_ap = verify.score_reference(
                published, candidate.manifest, dataset, "scoring the source as published"
            )
        figures = replace(figures, source_ap=source_ap, published_ap=published_ap)
        return replace(candidate.manifest, verification=figures, accuracy=accuracy)


def budget(
    describe: Callable[[bytes], ModelManifest],
    reference: verify.Reference,
    images: verify.Images,
    dataset: CocoDataset | None,
    max_drop: float,
) -> Budget:
    """What `auto` may lose: points of AP where there are annotations, else percent of the source's poses."""
    source_ap: list[float] = []

    def loss(flatbuffer: bytes) -> float:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "model.tflite"
            manifest = describe(flatbuffer)
            container.write(path, flatbuffer, manifest)
            estimator = PoseEstimator(path)
            if dataset is None:
                return 100 * (1 - verify.compare(reference, estimator, images).pose_agreement)
            if not source_ap:
                source_ap.append(verify.score_reference(reference, manifest, dataset, "scoring the source"))
            return 100 * (source_ap[0] - verify.score(estimator, dataset).ap)

    return Budget(max_drop, "percent of the poses" if dataset is None else "points of AP", loss)
