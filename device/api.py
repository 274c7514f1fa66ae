"""Python API for cameras: iterate over frames and poses, or run the camera loop with a callback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..runtime import PoseEstimator
from ..runtime.types import Frame, Pose
from .camera.build_group import build_group
from .camera.build_loop import build_loop
from .camera.pipeline import Pipeline
from .config import Config, name_lines
from .config import read as read_config
from .events.event import Event
from .sinks.callback import CallbackSink
from .sources.api import make_camera_config
from .sources.factory import open_source
from .tracking.one_euro import OneEuroSmoother
from .tracking.tracker import Tracker

Callback = Callable[[Frame, tuple[Pose, ...]], object]
EventCallback = Callable[[Event], object]


def stream(
    source: str | int | PathLike[str] = "picamera2",
    model: str | PathLike[str] | PoseEstimator | None = None,
    *,
    track: bool = True,
    smooth: bool | None = None,
    threads: int | None = None,
    **camera: Any,
) -> Iterator[tuple[Frame, tuple[Pose, ...]]]:
    """Iterate over the frames of a source and their poses.

    >>> for frame, poses in edgepose.stream("clip.mp4", "edgepose-small"):
    ...     print(frame.index, [pose.person for pose in poses])

    Capture and inference run in separate threads. If a live source delivers frames faster than they are processed,
    frames are dropped. A video waits, so that every frame is processed. When the loop is left, the threads end and the
    source is closed.

    Args:
        source: Source as for `open_source`.
        model: Path or name of a model, or an estimator that nothing else uses at the same time.
        track: True to track people across frames; `pose.person` is the number of the person.
        smooth: True to smooth keypoints with a One-Euro filter; requires `track`. Default: as `track`.
        threads: Number of threads of the interpreter.
        **camera: Settings of the camera, as for `open_source`. `real_time` is False by default: videos are read as
            fast as they are processed.

    Yields:
        The frame and its poses, in pixels of the frame.

    Raises:
        InputError: The source does not exist, or the camera is lost. A lost camera is not opened again; for that, use
            `run_camera`.
        ModelError: The model cannot be used.
        ValueError: `smooth` without `track`, or a setting is out of range.
    """
    smooth = track if smooth is None else smooth
    if smooth and not track:
        raise ValueError("stream: smooth=True requires track=True; got track=False")
    estimator = model if isinstance(model, PoseEstimator) else PoseEstimator(model, threads=threads)
    camera.setdefault("real_time", False)
    opened = open_source(make_camera_config(source, camera))
    tracker = Tracker(estimator.manifest.skeleton_table) if track else None
    smoother = OneEuroSmoother() if smooth else None
    with Pipeline(opened, estimator) as results:
        for result in results:
            poses = result.estimate.poses
            time_s = opened.get_time_ns(result.frame) / 1e9
            if tracker is not None:
                poses = tracker.update(poses, time_s)
            if smoother is not None:
                poses = smoother.update(poses, time_s)
            yield result.frame, poses


def run_camera(
    on_poses: Callback | None = None,
    config: Config | str | PathLike[str] | None = None,
    *,
    on_event: EventCallback | None = None,
    source: str | int | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    sinks: tuple[str, ...] = (),
    seconds: float | None = None,
) -> None:
    """Run the camera loop of `edgepose camera` with callbacks, sinks or both.

    Lost cameras are opened again. A hot board runs a cheaper model or processes fewer frames.

    >>> edgepose.run_camera(lambda frame, poses: print(len(poses)), source="rtsp://camera/1")

    Args:
        on_poses: Function that is called with each frame and its poses, in a separate thread, one call at a time. Up to
            16 frames wait while it runs; then the oldest ones are dropped. Exceptions that it raises are logged, and
            the loop continues.
        config: Path of a TOML file, or settings; default: the defaults of `edgepose camera`.
        on_event: Function that is called with each event of the rules in the settings (table `[events]`), in the same
            thread as `on_poses`. Events are not dropped while it runs, unless more than 1000 wait.
        source: Source that overrides the one in the settings.
        model: Model that overrides the one in the settings.
        sinks: Sinks in addition to those in the settings, in the format of `--sink`.
        seconds: Maximum run time in seconds; default: until the source ends or KeyboardInterrupt.

    Raises:
        EdgePoseError: The settings, the source, the model or a sink cannot be used.
        ValueError: A setting is out of range, or nothing receives the poses.
        TypeError: An argument has the wrong type.
    """
    if on_poses is not None and not callable(on_poses):
        raise TypeError(f"run_camera: on_poses: expected a function, got {type(on_poses).__name__}")
    if on_event is not None and not callable(on_event):
        raise TypeError(f"run_camera: on_event: expected a function, got {type(on_event).__name__}")
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < float("inf")):
        raise ValueError(f"run_camera: seconds: expected a number above 0, got {seconds!r}")
    if not (config is None or isinstance(config, Config | str | PathLike)):
        raise TypeError(f"run_camera: config: expected a path or a Config, got {type(config).__name__}")
    if isinstance(sinks, str) or not all(isinstance(sink, str) for sink in sinks):
        raise TypeError(f"run_camera: sinks: expected a sequence of texts such as ('-',), got {sinks!r}")
    settings = config if isinstance(config, Config) else Config() if config is None else read_config(Path(config))
    if source is not None:
        camera = replace(settings.camera, source=make_camera_config(source, {}).source, sources=())
        settings = replace(settings, camera=camera)
    if model is not None:
        settings = replace(settings, model=replace(settings.model, path=str(model)))
    settings = replace(settings, output=replace(settings.output, sinks=(*settings.output.sinks, *sinks)))
    settings.check()
    if on_event is not None and not settings.events:
        raise ValueError("run_camera: on_event: there are no rules; add [events] to the configuration")
    has_callback = on_poses is not None or on_event is not None
    if not has_callback and not settings.has_output:
        raise ValueError("run_camera: nothing receives the poses; give on_poses, on_event, sinks, a recording or clips")
    callback_sinks = [CallbackSink(on_poses, on_event)] if has_callback else []
    with name_lines(Path(config) if isinstance(config, str | PathLike) else None):
        loop = (
            build_group(settings, callback_sinks)
            if settings.camera.sources
            else build_loop(settings, callback_sinks)[0]
        )
    loop.run(seconds)
