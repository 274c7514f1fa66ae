"""Construction of the camera loop from its settings: models, sinks, statistics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...runtime import PoseEstimator
from ...runtime.errors import InputError, ModelError
from ...runtime.io import naming
from ...runtime.io.atomic import refuse_overwriting
from ...runtime.model import container, isolated_load, registry
from ...runtime.skeleton import Skeleton
from ..config import Config
from ..events.engine import EventEngine
from ..monitor.stats import Stats
from ..monitor.status_file import StatusFile
from ..monitor.systemd import SystemdNotifier
from ..sinks.base import Sink
from ..sinks.factory import open_recording, open_sinks
from ..sources.factory import open_source
from .loop import Loop


@dataclass(frozen=True)
class CheckedModels:
    """Model files whose hash was checked: the normal model, then those for a hot board.

    Attributes:
        paths: The files.
        hashes: SHA-256 of the network in each file.
    """

    paths: tuple[Path, ...]
    hashes: tuple[str, ...]

    def make_loaders(self, threads: int | None) -> list[Callable[[], PoseEstimator]]:
        """Return a function per model that loads it."""
        return [
            partial(PoseEstimator, path, threads=threads, sha256=sha256)
            for path, sha256 in zip(self.paths, self.hashes, strict=True)
        ]


def build_loop(settings: Config, sinks: Sequence[Sink] = ()) -> tuple[Loop, Stats]:
    """Build the camera loop of one camera.

    Args:
        settings: Settings that passed `Config.check`.
        sinks: Sinks in addition to those in the settings.

    Returns:
        The loop, not started yet, and its statistics.

    Raises:
        EdgePoseError: A model or a sink cannot be used.
    """
    models = check_models(settings)
    stats = Stats(models.paths[0].stem)
    pause = threading.Event()
    sinks = [*open_configured_sinks(settings, stats, pause), *sinks]
    refuse_overwriting_source(sinks, settings.camera.source)
    stats.sinks = list(sinks)
    loop = Loop(
        partial(open_source, settings.camera),
        models.make_loaders(settings.model.threads),
        sinks,
        settings.loop,
        stats,
        SystemdNotifier(),
        StatusFile(),
        pause,
        events=settings.events,
    )
    return loop, stats


def check_models(settings: Config) -> CheckedModels:
    """Find and check the models of the settings.

    Raises:
        EdgePoseError: A model cannot be used, the models have different skeletons, or a rule does not fit the skeleton.
    """
    skeleton: Skeleton | None = None
    models = [registry.find_model_file(name) for name in (settings.model.path, *settings.model.when_hot)]
    hashes = []
    for path, pin in zip(models, settings.model.get_pins(), strict=True):
        hashes.append(isolated_load.check_model(path, pin))
        manifest = container.read(path, hashes[-1])
        if manifest.untrained:
            raise ModelError(
                f"{path}: the weights are random (converted with --untrained, for speed measurements only); "
                "use a trained model"
            )
        # Trackers, sinks and recordings keep the skeleton of the first model.
        skeleton = skeleton or manifest.skeleton_table
        if manifest.skeleton_table != skeleton:
            raise ModelError(
                f"{path}: expected the skeleton {skeleton.name} of {models[0]}, got {manifest.skeleton}; "
                "all models of model.when_hot need the same skeleton"
            )
    if skeleton is not None:
        try:
            EventEngine(settings.events, skeleton)
        except ValueError as error:
            raise InputError(str(error)) from None
    return CheckedModels(tuple(models), tuple(hashes))


def refuse_overwriting_source(sinks: Sequence[Sink], source: str) -> None:
    """Raise InputError if a sink writes to the file that is the source."""
    for sink in sinks:
        if sink.path is not None:
            refuse_overwriting(sink.path, Path(source))


def open_configured_sinks(settings: Config, stats: Stats, pause: threading.Event) -> list[Sink]:
    """Create the sinks of the settings, not started, and set the name of this device.

    Args:
        settings: Settings of one camera.
        stats: Statistics of its loop.
        pause: Event that commands over MQTT set and clear.
    """
    output = settings.output
    name = naming.resolve_name(output.name)
    naming.set_device_name(name)
    source = settings.camera.source
    sinks = open_sinks(
        output.sinks, stats, output.privacy, insecure=output.insecure, name=name, source=source, pause=pause
    )
    if output.record:
        sinks.append(open_recording(output.record, output.privacy, name, source))
    return sinks
