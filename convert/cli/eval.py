"""`edgepose eval`: COCO keypoint AP of a model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ...runtime.cli.main import Parser
from ...runtime.decode import DecoderOptions
from ...runtime.estimator import PoseEstimator
from ...runtime.io import atomic
from ...runtime.model import container, isolated_load, registry
from ..validate.coco import CocoDataset, CocoScore


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "eval",
        "Scores a model on images with COCO keypoint annotations (average precision by pycocotools).",
        "  edgepose eval -m pose.tflite --images val2017/ --annotations person_keypoints_val2017.json\n"
        "  edgepose eval -m pose.tflite --images val2017/ --annotations val.json --limit 50 --json -",
    )
    parser.add_argument("-m", "--model", help="a .tflite, or the name of a model (default: edgepose-tiny)")
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="the images")
    parser.add_argument("--annotations", required=True, type=Path, metavar="JSON", help="their COCO keypoints")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is stdout")
    parser.add_argument("--sha256", type=container.check_sha256, metavar="HASH", help="SHA-256 the network must have")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--min-score", type=float, default=0.0, metavar="S",
        help="drop people below this pose score (default: none, as COCO's AP ranks them all)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, metavar="N", help="of the interpreter (default: cores, at most four)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Scores the model and prints a table; 1 where images could not be read."""
    if arguments.limit is not None and arguments.limit < 1:
        raise ValueError(f"--limit: expected 1 or more, got {arguments.limit}")
    dataset = CocoDataset(arguments.images, arguments.annotations, arguments.limit)
    for note in dataset.notes:
        print(f"edgepose: {arguments.annotations}: {note}", file=sys.stderr)
    if not 0 <= arguments.min_score <= 1:
        raise ValueError(f"--min-score: expected 0 to 1, got {arguments.min_score:g}")
    options = DecoderOptions(min_score=arguments.min_score)
    path = registry.find_tflite(arguments.model)
    sha256 = isolated_load.check_model(path, arguments.sha256)
    estimator = PoseEstimator(path, threads=arguments.threads, options=options, sha256=sha256)
    score = dataset.score(estimator.estimate, "scoring")
    document = _document(score, estimator)
    text = json.dumps(document, indent=1) + "\n"
    if arguments.json not in (None, "-"):
        atomic.write_text(Path(arguments.json), text)
    sys.stdout.write(text if arguments.json == "-" else _table(score, estimator))
    for message in dataset.unreadable:
        print(f"edgepose: left out: {message}", file=sys.stderr)
    return 1 if dataset.unreadable else 0


def _document(score: CocoScore, estimator: PoseEstimator) -> dict[str, object]:
    manifest = estimator.manifest
    return {
        "model": manifest.network,
        "images": score.images,
        "people": score.people,
        **{name: round(value, 4) for name, value in score.figures.items()},
        "precision": manifest.precision,
        "input_size": [manifest.input.width, manifest.input.height],
        "resize": manifest.input.resize,
        "interpreter": estimator.interpreter_name,
        "flatbuffer_sha256": manifest.flatbuffer_sha256,
    }


def _table(score: CocoScore, estimator: PoseEstimator) -> str:
    manifest = estimator.manifest
    what = f"{manifest.network}, {manifest.precision}, {manifest.input.width}x{manifest.input.height}"
    head = "  ".join(f"{name:>5}" for name in score.figures)
    row = "  ".join(f"{value:5.3f}" for value in score.figures.values())
    return (
        f"{what} {manifest.input.resize}: {score.images} images, {score.people} people, "
        f"{estimator.interpreter_name}\n{head}\n{row}\n"
    )
