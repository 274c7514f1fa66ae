"""`make bench`: measure all speeds of docs/explanation/measurements.md, on this machine.

The models are in build/bench. They are converted on the first run, from the weights in the folders of EDGEPOSE_MODELS.
Calibration images come from the folder EDGEPOSE_TEST_DATA; a network that needs them is skipped if there are none.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..device.monitor.board import read_board
from ..device.sources.base import FrameSource, SyntheticCamera
from ..device.sources.opencv import VideoFiles
from ..runtime.io.images import write_image
from ..runtime.model import container
from ..runtime.synthetic import Scene
from . import process
from .micro import camera_loop, decoder, frame, pipeline
from .models import FOLDER, prepare_models


def main() -> int:
    """Print all measurements. Returns the exit code: 2 if there is no model to measure."""
    models = prepare_models()
    if not models:
        print(
            "edgepose: no weights of a known model found; set EDGEPOSE_MODELS to the folders that contain them",
            file=sys.stderr,
        )
        return 2
    print(f"machine: {read_board()}")
    for path in models:
        manifest = container.read(path)
        print(f"model: {manifest.network} {manifest.precision}, sha256 {manifest.flatbuffer_sha256[:12]}")
    _measure_decoder(models)
    _measure_frames(models)
    _measure_pipelines(models)
    _measure_camera_loops(models)
    _measure_processes(models)
    return 0


def _measure_decoder(models: list[Path]) -> None:
    for path in models:
        print(f"\ndecoder: maps of {path.stem}, one thread")
        for people, found, (height, width), time in decoder.measure_by_people(path):
            print(f"  {people:2} people ({found:2} found), {height}x{width}  {time}")
    print("\ndecoder: worst cases, 46x62, 100 peaks per keypoint")
    for name, time in decoder.measure_worst_cases(46, 62):
        print(f"  {name:36}{time}")
    print("\ndecoder: comparison with tf-pose-estimation (enlarge x4, Gaussian 25x25, 3x3 maximum, grouping), 5 people")
    for path in models:
        result = decoder.compare_with_upstream(path)
        print(f"  {path.stem}\n    edgepose, 1 thread              {result.edgepose}")
        print(
            f"    tf-pose in OpenCV, 2 threads    {result.opencv}\n"
            f"    tf-pose grouping in NumPy       {result.grouping}"
        )
        grouping_ms = result.grouping.median_ms
        speedup = (result.opencv.median_ms + grouping_ms) / result.edgepose.median_ms
        print(f"    edgepose is {speedup:.0f} times faster")
        if result.tensorflow is not None:
            print(f"    tf-pose in TensorFlow           {result.tensorflow}")
            speedup = (result.tensorflow.median_ms + grouping_ms) / result.edgepose.median_ms
            print(f"    edgepose is {speedup:.0f} times faster")


def _measure_frames(models: list[Path]) -> None:
    print("\nestimator: whole frames, 5 people, 640x480")
    for path in models:
        for threads in (1, 2):
            cost = frame.measure_frames(path, threads)
            print(
                f"  {path.stem}, {threads} threads, {cost.interpreter}: "
                f"frame / inference = {cost.frame_to_inference_ratio:.3f}"
            )
            for name in ("preprocess", "inference", "decode"):
                print(f"    {name:11}{getattr(cost, name)}")


def _measure_pipelines(models: list[Path]) -> None:
    print("\npipeline: capture, inference (one thread) and decoding in parallel; simulated camera, 5 people, 640x480")
    for path in models:
        for camera_fps in (None, 5.0, 15.0, 30.0, 100.0):
            result = pipeline.measure(path, camera_fps, frames=150 if camera_fps is None or camera_fps > 20 else 60)
            rate = "no camera limit" if camera_fps is None else f"camera at {camera_fps:.0f} FPS"
            print(f"  {path.stem}, {rate}")
            print(
                f"    serial {result.serial_fps:6.1f} FPS, {result.serial_latency_ms:6.1f} ms; pipeline "
                f"{result.fps:6.1f} FPS ({result.efficiency:.1%} of the slowest stage's FPS), "
                f"{result.latency_ms:6.1f} ms" + (f" ({result.added_latency_frames:+.2f} frames)" if camera_fps else "")
            )


def _measure_camera_loops(models: list[Path]) -> None:
    print("\ncamera loop: tracking and smoothing, one thread; synthetic scene with 5 people at 30 FPS, and a video")
    print(f"  tracking and smoothing, 10 people    {camera_loop.measure_tracking(10)}")
    video = Path(os.environ.get("EDGEPOSE_TEST_DATA", "")) / "video" / "exercise.avi"
    for path in models:
        sources: dict[str, FrameSource] = {"scene": SyntheticCamera(5, fps=30)}
        if video.exists():
            sources[video.name] = VideoFiles([video], live=True, loop=True)
        for name, source in sources.items():
            cost = camera_loop.measure_loop(path, source)
            print(
                f"  {path.stem}, {name}: {cost.fps:.1f} FPS, overhead {cost.overhead:.1%} of the inference time; "
                f"latency p95 {cost.latency_p95_ms:.1f} ms, inference p95 {cost.inference_p95_ms:.1f} ms"
            )


def _measure_processes(models: list[Path]) -> None:
    print("\nprocesses: start-up time and memory")
    python = process.measure_startup("-c", "pass")
    print(f"  python                               {python}")
    print(f"  edgepose --help                      {process.measure_startup('-m', 'edgepose.runtime.cli', '--help')}")
    print(f"  import edgepose.runtime              {process.measure_startup('-c', 'import edgepose.runtime')}")
    with_estimator = process.measure_startup("-c", "from edgepose.runtime import PoseEstimator")
    print(f"  ... and PoseEstimator                {with_estimator}")
    image = FOLDER.resolve() / "image.png"
    write_image(image, Scene(2, 640, 480).render_frame(0).image)
    for path in models:
        peak = process.measure_peak_memory_mb(
            "run", "-m", path.resolve(), image, "--json", FOLDER.resolve() / "poses.jsonl"
        )
        print(f"  peak memory of `edgepose run` on an image, {path.stem}: {peak:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
