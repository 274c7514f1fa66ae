"""`make demo`: the model that comes with the package, run on an image, and the result to look at. Needs no network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..runtime import PoseEstimator
from ..runtime.errors import EdgePoseError
from ..runtime.io import atomic
from ..runtime.io.formats import edgepose_line
from ..runtime.io.images import read_image, write_image
from ..runtime.model import registry
from ..runtime.synthetic import Scene
from ..runtime.types import Frame
from ..runtime.visualize.draw import draw_poses
from .timing import summary

_FOLDER = Path("build/demo")
_PEOPLE = 3
_RUNS = 30


def main() -> int:
    """Runs the demonstration; 2 where the image cannot be read, in one line that says what to do."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--image", type=Path, help="an image of your own; a synthetic scene when left out")
    arguments = parser.parse_args()
    try:
        atomic.make_folder(_FOLDER)
        frame = _frame(arguments.image)
        show(registry.find_tflite(None), frame)
    except EdgePoseError as error:
        print(f"edgepose: {error}", file=sys.stderr)
        return 2
    return 0


def show(path: Path, frame: Frame) -> None:
    """Finds the people, writes image and JSON, prints what was found and how long it took."""
    estimator = PoseEstimator(path)
    estimate = estimator.estimate(frame.image)
    timings = [estimator.estimate(frame.image).timings_ms for _ in range(_RUNS)]
    image, poses = _FOLDER / "poses.png", _FOLDER / "poses.jsonl"
    write_image(image, draw_poses(frame.image, estimate, estimator.manifest.skeleton_table))
    atomic.write_text(poses, edgepose_line(frame, estimate) + "\n")
    spec, accuracy = estimator.manifest.input, estimator.manifest.accuracy
    about = f"{spec.width}x{spec.height}, {(estimator.manifest.macs or 0) / 1e9:.2f} GMAC a frame"
    scored = "" if accuracy is None else f", AP {accuracy.ap:.3f} on {accuracy.images} images of COCO"
    print(f"{path.stem}: {estimator.manifest.precision}, {about}{scored}")
    print(f"{len(estimate)} people found in {frame.source}")
    for number, pose in enumerate(estimate, 1):
        box, present = pose.bbox, int((pose.keypoints[:, 2] > 0).sum())
        where = f"{box.width:4.0f} x {box.height:3.0f} pixels at {box.x:4.0f}, {box.y:3.0f}"
        print(f"  person {number}: {present:2} of 18 keypoints, {where}, score {pose.score:.2f}")
    medians = [summary(list(stage)).median_ms for stage in zip(*timings, strict=True)]
    stages = ", ".join(f"{name} {ms:.2f}" for name, ms in zip(timings[0]._fields, medians, strict=True))
    print(f"{sum(medians):.1f} ms a frame ({stages}; median of {_RUNS}, {estimator.interpreter_name})")
    print(f"model    {path.name}, which comes with the package\nimage    {image}\nposes    {poses}")


def _frame(image: Path | None) -> Frame:
    if image is not None:
        return Frame(read_image(image), str(image))
    return Frame(Scene(_PEOPLE, 640, 480).frame(20).image, f"a synthetic scene of {_PEOPLE}")


if __name__ == "__main__":
    sys.exit(main())
