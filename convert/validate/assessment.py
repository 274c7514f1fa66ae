"""Assessment of a converted network: sanity, comparison with its source, minimum pose score, report, verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ...runtime import PoseEstimator
from ...runtime.model.manifest import ModelManifest
from ..quantize.calibration_images import ImageFolder
from . import layer_errors, proof, report, sanity, score_threshold, verdict, verify
from .coco import CocoDataset
from .proof import Candidate
from .sanity import SanityResult
from .verdict import Evidence, Verdict


@dataclass(frozen=True)
class EvaluationData:
    """Images to compare the model on, the same images with annotations, and images without people."""

    images: ImageFolder | None = None
    dataset: CocoDataset | None = None
    background: ImageFolder | None = None


@dataclass(frozen=True)
class Assessment:
    """Manifest with the measurements, and the verdict about the conversion."""

    manifest: ModelManifest
    verdict: Verdict


def assess(
    candidate: Candidate, data: EvaluationData, report_path: Path | None, note: Callable[[str], None]
) -> Assessment:
    """Measure a converted network and judge it.

    Args:
        candidate: The converted network. A network with an integer precision is always compared with its source, if
            need be on the calibration images.
        data: Images of the user.
        report_path: Folder or file of the report about an integer precision.
        note: Called with each step as text.
    """
    manifest, quantized = candidate.manifest, candidate.quantized
    estimator = proof.load_estimator(candidate)
    sane = _check_sanity(candidate, estimator, note)
    images: verify.ImageCollection | None = data.images
    if images is None and quantized is not None:
        images = quantized.calibration_images
    if images is not None:
        manifest = proof.verify_candidate(candidate, estimator, images, data.dataset)
    judged = verdict.judge(
        Evidence(
            manifest.precision,
            sane,
            manifest.verification,
            manifest.accuracy,
            has_own_images=data.images is not None,
            calibration_images=None if quantized is None else len(quantized.calibration_images),
            untrained=manifest.untrained,
        )
    )
    manifest = _set_min_score(manifest, estimator, data.background, sane, note)
    if quantized is not None:
        errors = layer_errors.measure_layer_errors(quantized, len(manifest.skeleton_table.keypoints))
        note(stage_errors := layer_errors.describe_stages(quantized.plan.graph, errors))
        manifest = replace(manifest, recipe=(*manifest.recipe, stage_errors))
        if not judged.ok:
            note(f"layers with the largest individual error: {layer_errors.describe_worst_layers(errors)}")
        if report_path is not None:
            note(f"writing the report to {report_path}")
            report.write(report_path, candidate, manifest, errors, judged)
    return Assessment(manifest, judged)


def _check_sanity(candidate: Candidate, estimator: PoseEstimator, note: Callable[[str], None]) -> SanityResult:
    if candidate.manifest.untrained:
        return sanity.UNTRAINED
    note("checking the model on synthetic scenes")
    return sanity.check_sanity(estimator, candidate.load_probe, candidate.pixels)


def _set_min_score(
    manifest: ModelManifest,
    estimator: PoseEstimator,
    background: ImageFolder | None,
    sane: SanityResult,
    note: Callable[[str], None],
) -> ModelManifest:
    """Choose the default minimum pose score. Without images of the user, a model that finds no people gets none."""
    if background is None and sane.status != "passed":
        return manifest
    chosen = score_threshold.choose_min_score(estimator, background)
    note(f"default minimum pose score: {chosen.value:.2f}, {chosen.origin}")
    recipe = (*manifest.recipe, f"minimum pose score {chosen.value:.2f}: {chosen.origin}")
    return replace(manifest, min_score=chosen.value, recipe=recipe)
