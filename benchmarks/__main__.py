"""`make bench`: every speed the README names, measured here and now.

Models: the converted ones in build/bench, made on the first run of the weights found through EDGEPOSE_MODELS. The
folder of calibration images comes from EDGEPOSE_TEST_DATA; without it the network that needs them is left out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..device.monitor.board import describe
from ..device.sources.base import FrameSource, SyntheticCamera
from ..device.sources.opencv import VideoFile
from ..runtime.io.images import write_image
from ..runtime.model import container
from ..runtime.synthetic import Scene
from . import process
from .micro import camera_loop, decoder, frame, pipeline
from .models import FOLDER, bench_models


def main() -> int:
    """Prints all measurements; gives 2 where there is no model to measure."""
    models = bench_models()
    if not models:
        print("edgepose: no known weights found; set EDGEPOSE_MODELS to folders that hold them", file=sys.stderr)
        return 2
    print(f"machine: {describe()}")
    for path in models:
        manifest = container.read(path)
        print(f"model: {manifest.network} {manifest.precision}, sha256 {manifest.flatbuffer_sha256[:12]}")
    _decoding(models)
    _frames(models)
    _pipelines(models)
    _loops(models)
    _processes(models)
    return 0


def _decoding(models: list[Path]) -> None:
    for path in models:
        print(f"\ndecoding the maps of {path.stem}, one thread")
        for people, found, (height, width), time in decoder.by_people(path):
            print(f"  {people:2} people ({found:2} found), {height}x{width}  {time}")
    print("\ndecoding at its worst, 46x62, 100 candidates a part")
    for name, time in decoder.worst_cases(46, 62):
        print(f"  {name:36}{time}")
    print("\nagainst upstream's way: enlarge x4, Gaussian 25x25 (sigma 3), 3x3 maximum, grouping; 5 people")
    for path in models:
        result = decoder.against_upstream(path)
        print(f"  {path.stem}\n    edgepose, 1 thread           {result.ours}")
        print(
            f"    OpenCV, 2 threads            {result.enlarging}\n    grouping in NumPy            {result.grouping}"
        )
        rest = result.grouping.median_ms
        print(f"    edgepose is {(result.enlarging.median_ms + rest) / result.ours.median_ms:.0f} times faster")
        if result.tensorflow is not None:
            print(f"    as upstream, in TensorFlow   {result.tensorflow}")
            print(f"    edgepose is {(result.tensorflow.median_ms + rest) / result.ours.median_ms:.0f} times faster")


def _frames(models: list[Path]) -> None:
    print("\nwhole frames, 5 people, 640x480")
    for path in models:
        for threads in (1, 2):
            cost = frame.measure_frames(path, threads)
            print(f"  {path.stem}, {threads} threads, {cost.interpreter}: frame / inference = {cost.ratio:.3f}")
            for name in ("preprocess", "inference", "decode"):
                print(f"    {name:11}{getattr(cost, name)}")


def _pipelines(models: list[Path]) -> None:
    print("\noverlapping capture, inference (one thread) and decoding; a stand-in for the camera, 5 people, 640x480")
    for path in models:
        for camera_fps in (None, 5.0, 15.0, 30.0, 100.0):
            result = pipeline.measure(path, camera_fps, frames=150 if camera_fps is None or camera_fps > 20 else 60)
            rate = "as fast as frames are taken" if camera_fps is None else f"{camera_fps:.0f} frames a second"
            print(f"  {path.stem}, {rate}")
            print(
                f"    serial {result.serial_fps:6.1f} FPS, {result.serial_latency_ms:6.1f} ms; overlapped "
                f"{result.fps:6.1f} FPS, {result.share:.1%} of what the slowest stage allows, "
                f"{result.latency_ms:6.1f} ms" + (f" ({result.late:+.2f} frames)" if camera_fps else "")
            )


def _loops(models: list[Path]) -> None:
    print("\nthe camera loop, tracking and smoothing, one thread; 5 people of the scene at 30 FPS, and a video")
    print(f"  identity and smoothing of 10 people  {camera_loop.following_ms(10)}")
    video = Path(os.environ.get("EDGEPOSE_TEST_DATA", "")) / "video" / "exercise.avi"
    for path in models:
        sources: dict[str, FrameSource] = {"scene": SyntheticCamera(5, fps=30)}
        if video.exists():
            sources[video.name] = VideoFile(video, live=True, loop=True)
        for name, source in sources.items():
            cost = camera_loop.measure_loop(path, source)
            print(
                f"  {path.stem}, {name}: {cost.fps:.1f} FPS, everything but inference {cost.share:.1%} of inference; "
                f"exposure to pose p95 {cost.latency_p95_ms:.1f} ms, inference p95 {cost.inference_p95_ms:.1f} ms"
            )


def _processes(models: list[Path]) -> None:
    print("\nprocesses")
    bare = process.start("-c", "pass")
    print(f"  python                               {bare}")
    print(f"  edgepose --help                      {process.start('-m', 'edgepose.runtime.cli', '--help')}")
    print(f"  import edgepose.runtime              {process.start('-c', 'import edgepose.runtime')}")
    loaded = process.start("-c", "from edgepose.runtime import PoseEstimator")
    print(f"  ... and PoseEstimator                {loaded}")
    image = FOLDER.resolve() / "image.png"
    write_image(image, Scene(2, 640, 480).frame(0).image)
    for path in models:
        peak = process.peak_memory_mb("run", "-m", path.resolve(), image, "--json", FOLDER.resolve() / "poses.jsonl")
        print(f"  peak memory of `edgepose run` on an image, {path.stem}: {peak:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
