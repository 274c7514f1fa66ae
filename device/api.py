"""Streams from Python: poses of a camera in a `for` loop, or the whole camera loop with a function of yours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..runtime import PoseEstimator
from ..runtime.types import Frame, Pose
from .camera.build_loop import build_loop
from .camera.pipeline import Pipeline
from .config import Config
from .config import read as read_config
from .sinks.callback import CallbackSink
from .sources.api import camera_config
from .sources.factory import open_source
from .tracking.one_euro import OneEuroSmoother
from .tracking.tracker import Tracker

Callback = Callable[[Frame, tuple[Pose, ...]], object]


def stream(
    source: str | int | PathLike[str] = "picamera2",
    model: str | PathLike[str] | PoseEstimator | None = None,
    *,
    track: bool = True,
    smooth: bool = True,
    threads: int | None = None,
    **camera: Any,
) -> Iterator[tuple[Frame, tuple[Pose, ...]]]:
    """Iterate over the frames of a source with the people in them.

    >>> for frame, poses in edgepose.stream("clip.mp4", "edgepose-small"):
    ...     print(frame.index, [pose.person for pose in poses])

    Capture and inference run in threads of their own. A live source drops frames that come too fast; a video waits,
    so that every frame is seen. Leaving the loop ends the threads and closes the source.

    Args:
        source: As for `open_source`.
        model: The path or name of a model, or an estimator that nothing else uses meanwhile.
        track: Number people across frames: `pose.person`.
        smooth: Smooth keypoints (One-Euro filter); needs `track`.
        threads: Threads of the interpreter.
        **camera: Settings of the camera, as for `open_source`. Videos are read as fast as they are processed, unless
            `real_time=True`.

    Yields:
        The frame, and its people in pixels of the frame.

    Raises:
        InputError: There is no such source, or the camera is lost. A lost camera is not opened again: use `run_camera`.
        ModelError: The model cannot be used.
    """
    if smooth and not track:
        raise ValueError("stream: smooth needs track")
    estimator = model if isinstance(model, PoseEstimator) else PoseEstimator(model, threads=threads)
    camera.setdefault("real_time", False)
    opened = open_source(camera_config(source, camera))
    tracker = Tracker(estimator.manifest.skeleton_table) if track else None
    smoother = OneEuroSmoother() if smooth else None
    with Pipeline(opened, estimator) as results:
        for result in results:
            poses = result.estimate.poses
            time_s = opened.time_ns(result.frame) / 1e9
            if tracker is not None:
                poses = tracker.update(poses, time_s)
            if smoother is not None:
                poses = smoother.update(poses, time_s)
            yield result.frame, poses


def run_camera(
    on_poses: Callback | None = None,
    config: Config | str | PathLike[str] | None = None,
    *,
    source: str | int | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    sinks: tuple[str, ...] = (),
    seconds: float | None = None,
) -> None:
    """Run the loop of `edgepose camera`: lost cameras are opened again, heat slows it down, sinks get the poses.

    >>> edgepose.run_camera(lambda frame, poses: print(len(poses)), source="rtsp://camera/1")

    Args:
        on_poses: Called with each frame and its people, in one thread of its own. While it runs, up to 16 frames wait;
            then the oldest are left out. An exception that it raises is logged, and the loop goes on.
        config: The path of a TOML file, or settings; default: those of `edgepose camera`.
        source: Overrides the source of the settings.
        model: Overrides the model of the settings.
        sinks: Sinks beside those of the settings, as `--sink` takes them.
        seconds: End after so long; default: when the source ends, or at KeyboardInterrupt.

    Raises:
        EdgePoseError: Settings, source, model or a sink cannot be used.
        ValueError: There is nothing that would receive the poses.
    """
    settings = config if isinstance(config, Config) else Config() if config is None else read_config(Path(config))
    if source is not None:
        settings = replace(settings, camera=replace(settings.camera, source=camera_config(source, {}).source))
    if model is not None:
        settings = replace(settings, model=replace(settings.model, path=str(model)))
    settings = replace(settings, output=replace(settings.output, sinks=(*settings.output.sinks, *sinks)))
    settings.check()
    if on_poses is None and not settings.output.sinks and not settings.output.record:
        raise ValueError("run_camera: expected on_poses, sinks or a recording")
    own = [] if on_poses is None else [CallbackSink(on_poses)]
    loop, _ = build_loop(settings, own)
    loop.run(seconds)
