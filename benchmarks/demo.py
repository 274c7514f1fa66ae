"""`make demo`: run the bundled model on an image and write the drawn poses and the JSON. Works offline."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..runtime import PoseEstimator
from ..runtime.errors import EdgePoseError
from ..runtime.io import atomic
from ..runtime.io.formats import format_edgepose_line
from ..runtime.io.images import read_image, write_image
from ..runtime.io.messages import show_warning
from ..runtime.model import registry
from ..runtime.synthetic import Scene
from ..runtime.types import Frame
from ..runtime.visualize.draw import draw_poses
from .timing import summarize

_FOLDER = Path("build/demo")
_SCENE_PEOPLE = 3
_TIMED_RUNS = 30


def main() -> int:
    """Run the demo. Returns the exit code: 2 if the image cannot be read or a file cannot be written."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--image", type=Path, help="an image file (default: a synthetic scene)")
    arguments = parser.parse_args()
    try:
        atomic.make_folder(_FOLDER)
        frame = _load_frame(arguments.image)
        run_demo(registry.find_model_file(None), frame)
    except EdgePoseError as error:
        show_warning(str(error))
        return 2
    return 0


def run_demo(path: Path, frame: Frame) -> None:
    """Estimate the poses of a frame, write image and JSON, and print poses and times."""
    estimator = PoseEstimator(path)
    estimate = estimator.estimate(frame.image)
    timings = [estimator.estimate(frame.image).timings_ms for _ in range(_TIMED_RUNS)]
    image, poses = _FOLDER / "poses.png", _FOLDER / "poses.jsonl"
    write_image(image, draw_poses(frame.image, estimate, estimator.manifest.skeleton_table))
    atomic.write_text(poses, format_edgepose_line(frame, estimate) + "\n")
    spec, accuracy = estimator.manifest.input, estimator.manifest.accuracy
    size = f"{spec.width}x{spec.height}, {(estimator.manifest.macs or 0) / 1e9:.2f} GMAC"
    ap = "" if accuracy is None else f", AP {accuracy.ap:.3f} on {accuracy.images} COCO images"
    print(f"{path.stem}: {estimator.manifest.precision}, {size}{ap}")
    print(f"{len(estimate)} people found in {frame.source}")
    for number, pose in enumerate(estimate, 1):
        box, found = pose.bbox, int((pose.keypoints[:, 2] > 0).sum())
        place = f"{box.width:4.0f} x {box.height:3.0f} pixels at {box.x:4.0f}, {box.y:3.0f}"
        print(f"  person {number}: {found:2} of {len(pose.keypoints)} keypoints, {place}, score {pose.score:.2f}")
    medians = [summarize(list(stage)).median_ms for stage in zip(*timings, strict=True)]
    stages = ", ".join(f"{name} {ms:.2f}" for name, ms in zip(timings[0]._fields, medians, strict=True))
    print(f"{sum(medians):.1f} ms per frame ({stages}; median of {_TIMED_RUNS}, {estimator.interpreter_name})")
    print(f"model    {path.name} (bundled)\nimage    {image}\nposes    {poses}")


def _load_frame(image: Path | None) -> Frame:
    if image is not None:
        return Frame(read_image(image), str(image))
    return Frame(Scene(_SCENE_PEOPLE, 640, 480).render_frame(20).image, f"a synthetic scene of {_SCENE_PEOPLE} people")


if __name__ == "__main__":
    sys.exit(main())
