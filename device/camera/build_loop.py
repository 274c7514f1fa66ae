"""Construction of the camera loop from its settings: models, sinks, statistics."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...runtime import PoseEstimator
from ...runtime.errors import InputError, ModelError
from ...runtime.io import naming
from ...runtime.io.atomic import expand_home, refuse_overwriting
from ...runtime.model import container, isolated_load, registry
from ...runtime.skeleton import Skeleton
from ..config import Config
from ..monitor.stats import Stats
from ..monitor.status_file import StatusFile
from ..monitor.systemd import SystemdNotifier
from ..sinks.base import Sink
from ..sinks.factory import open_sinks
from ..sources.factory import open_source
from .loop import Loop


def build_loop(settings: Config, sinks: Sequence[Sink] = ()) -> tuple[Loop, Stats]:
    """Build the camera loop.

    Args:
        settings: Settings that passed `Config.check`.
        sinks: Sinks in addition to those in the settings.

    Returns:
        The loop, not started yet, and its statistics.

    Raises:
        EdgePoseError: A model or a sink cannot be used.
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
    stats = Stats(models[0].stem)
    pause = threading.Event()
    sinks = [*_open_configured_sinks(settings, stats, pause), *sinks]
    for sink in sinks:
        if sink.path is not None:
            refuse_overwriting(sink.path, Path(settings.camera.source))
    stats.sinks = list(sinks)
    loop = Loop(
        partial(open_source, settings.camera),
        [
            partial(PoseEstimator, path, threads=settings.model.threads, sha256=sha256)
            for path, sha256 in zip(models, hashes, strict=True)
        ],
        sinks,
        settings.loop,
        stats,
        SystemdNotifier(),
        StatusFile(),
        pause,
    )
    return loop, stats


def _open_configured_sinks(settings: Config, stats: Stats, pause: threading.Event) -> list[Sink]:
    output = settings.output
    name = naming.resolve_name(output.name)
    naming.set_device_name(name)
    source = settings.camera.source
    sinks = open_sinks(
        output.sinks, stats, output.privacy, insecure=output.insecure, name=name, source=source, pause=pause
    )
    if output.record:
        if output.privacy is None:
            raise InputError(
                "--record: no privacy mode for the recorded images; choose with --privacy none, blur or silhouette"
            )
        from ..sinks.record import RecordSink

        path = naming.fill_placeholders(output.record, naming.make_placeholder_values(name, source), "record")
        sinks.append(RecordSink(Path(expand_home(path)), output.privacy))
    return sinks
