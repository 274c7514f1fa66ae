"""The command `edgepose eval`: measure the COCO keypoint AP of a model."""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from ...runtime.cli.command import Command, InputName, Number, Option, PathName
from ...runtime.cli.model_options import make_accuracy_options, make_model_options
from ...runtime.decode import DecoderOptions
from ...runtime.estimator import PoseEstimator
from ...runtime.io import atomic
from ...runtime.io.formats import check_coco_order
from ...runtime.io.messages import show_warning
from ...runtime.model import isolated_load, registry
from ...runtime.types import EstimateResult, Image
from ..validate.coco import CocoDataset, CocoScore


@dataclass(frozen=True)
class EvalOptions:
    """Values of the command line of `edgepose eval`."""

    model: str | None
    sha256: str | None
    threads: int | None
    min_score: float
    images: Path
    annotations: Path
    limit: int | None
    json: str | None
    augment: bool
    scales: tuple[float, ...] | None


def run(options: EvalOptions) -> int:
    """Measure the AP and print a table.

    Returns:
        0 done; 1 some images could not be read.
    """
    dataset = CocoDataset(options.images, options.annotations, options.limit)
    for note in dataset.notes:
        show_warning(f"{options.annotations}: {note}")
    path = registry.find_model_file(options.model)
    sha256 = isolated_load.check_model(path, options.sha256)
    decoder_options = DecoderOptions(min_score=options.min_score)
    estimator = PoseEstimator(
        path, threads=options.threads, options=decoder_options, sha256=sha256,
        augment=options.augment, scales=options.scales or (1.0,),
    )  # fmt: skip
    check_coco_order(estimator.manifest.skeleton_table)
    times_ms: list[float] = []

    def estimate(image: Image) -> EstimateResult:
        result = estimator.estimate(image)
        times_ms.append(result.timings_ms.total)
        return result

    score = dataset.score(estimate, "scoring")
    cost_ms = statistics.median(times_ms) if times_ms else 0.0
    text = json.dumps(_to_dict(score, estimator, cost_ms), indent=1) + "\n"
    if options.json is not None and options.json != "-":
        atomic.write_text(Path(options.json), text)
    sys.stdout.write(text if options.json == "-" else _format_table(score, estimator, cost_ms))
    for message in dataset.unreadable:
        show_warning(f"skipped: {message}")
    return 1 if dataset.unreadable else 0


def _to_dict(score: CocoScore, estimator: PoseEstimator, cost_ms: float) -> dict[str, object]:
    manifest = estimator.manifest
    return {
        "model": manifest.network,
        "images": score.images,
        "people": score.people,
        **{name: round(value, 4) for name, value in score.metrics.items()},
        "precision": manifest.precision,
        "input_size": [manifest.input.width, manifest.input.height],
        "resize": manifest.input.resize,
        "interpreter": estimator.interpreter_name,
        "inferences_per_image": estimator.passes,
        "ms_per_image": round(cost_ms, 2),
        "flatbuffer_sha256": manifest.flatbuffer_sha256,
    }


def _format_table(score: CocoScore, estimator: PoseEstimator, cost_ms: float) -> str:
    manifest = estimator.manifest
    what = f"{manifest.network}, {manifest.precision}, {manifest.input.width}x{manifest.input.height}"
    head = "  ".join(f"{name:>5}" for name in score.metrics)
    row = "  ".join(f"{value:5.3f}" for value in score.metrics.values())
    return (
        f"{what} {manifest.input.resize}: {score.images} images, {score.people} people, "
        f"{estimator.interpreter_name}, {_describe_passes(estimator)}median {cost_ms:.1f} ms per image\n{head}\n{row}\n"
    )


def _describe_passes(estimator: PoseEstimator) -> str:
    return "" if estimator.passes == 1 else f"{estimator.passes} inferences per image, "


command = Command(
    "eval",
    EvalOptions,
    run,
    description="Measure the average precision (AP) of a model on images with COCO keypoint annotations.",
    examples="""\
  edgepose eval -m pose.tflite --images val2017/ --annotations person_keypoints_val2017.json
  edgepose eval -m pose.tflite --images val2017/ --annotations val.json --limit 50 --json -
  edgepose eval -m pose.tflite --images val2017/ --annotations val.json --augment --scales 1,1.3""",
    exit_codes={1: "some images could not be read; the AP is that of the others"},
    parameters=[
        *make_model_options(),
        *make_accuracy_options(),
        Option("--min-score", default=0.0, type=Number(float, 0, 1), metavar="S", section="Model",
               help="minimum pose score, 0 to 1 (default: 0, as AP ranks all people by score)"),
        Option("--images", required=True, type=PathName("dir"), metavar="DIR", section="Images",
               help="folder of the images"),
        Option("--annotations", required=True, type=PathName(), metavar="JSON", section="Images",
               help="COCO keypoint annotations of the images"),
        Option("--limit", type=Number(int, 1), metavar="N", section="Images",
               help="use only the first N images (default: all)"),
        Option("--json", type=InputName(), metavar="FILE", section="Output",
               help="write the figures as JSON; - is stdout"),
    ],
)  # fmt: skip
