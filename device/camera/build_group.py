"""Construction of the loops of several cameras from one configuration."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from ...runtime.errors import InputError
from ...runtime.io import naming
from ...runtime.io.redact import mask_credentials
from ..clips.factory import find_planner
from ..config import Config, OutputConfig
from ..monitor.stats import Stats
from ..monitor.status_file import StatusFile
from ..monitor.systemd import SystemdNotifier
from ..sinks.base import Sink
from ..sinks.factory import PAGE_PORTS, find_page, open_sinks
from ..sources.factory import open_source
from ..sources.names import parse_sources
from .build_loop import check_models, list_rules, open_configured_sinks, refuse_overwriting_source
from .group import CameraGroup, GroupMember, Pulse
from .loop import Loop

_PLACEHOLDER = "{camera}"
_NAMES_OF_CAMERAS = (_PLACEHOLDER, "{name}")
"""Placeholders that have another value for each camera."""
_DEFAULT_MAX_THREADS = 4


def build_group(settings: Config, sinks: Sequence[Sink] = ()) -> CameraGroup:
    """Build one loop per source of `camera.sources`.

    Args:
        settings: Settings that passed `Config.check`.
        sinks: Sinks that get the messages of all cameras, in addition to those in the settings.

    Returns:
        The group, not started yet.

    Raises:
        EdgePoseError: A source has no valid name, or a model or a sink cannot be used.
    """
    sources = parse_sources(settings.camera.sources)
    output, device = settings.output, naming.resolve_name(settings.output.name)
    if output.record and _PLACEHOLDER not in output.record:
        raise InputError(f"record {output.record!r}: expected {_PLACEHOLDER} in the name: there are several cameras")
    _refuse_common_topics(output.sinks)
    models = check_models(settings)
    threads = settings.model.threads or max(1, min(_DEFAULT_MAX_THREADS, os.cpu_count() or 1) // len(sources))
    common = [address for address in output.sinks if _is_common(address)]
    rules = list_rules(settings, models.skeleton)
    shared = [
        *open_sinks(
            common,
            Stats(""),
            output.privacy,
            insecure=output.insecure,
            name=device,
            source="camera",
            rules=rules,
        ),
        *sinks,
    ]
    outputs = [_make_output(output, common, device, name, number) for number, name in enumerate(sources)]
    _refuse_equal_ports([address for own in outputs for address in own.sinks], len(sources))
    members = []
    for (name, source), own_output in zip(sources.items(), outputs, strict=True):
        camera = replace(settings.camera, source=source, sources=())
        clips = replace(settings.clips, folder=settings.clips.folder.replace(_PLACEHOLDER, naming.make_slug(name)))
        one = replace(settings, camera=camera, output=own_output, clips=clips)
        stats = Stats(models.paths[0].stem)
        pause = threading.Event()
        own = open_configured_sinks(one, stats, pause, list_rules(settings, models.skeleton, name))
        refuse_overwriting_source([*own, *shared], source)
        stats.sinks = [*own, *shared]
        pulse = Pulse()
        loop = Loop(
            partial(open_source, camera), models.make_loaders(threads), own, settings.loop, stats, pulse,
            StatusFile(""), pause, events=settings.events, clips=find_planner(own), shared_sinks=shared, camera=name,
            device=device,
        )  # fmt: skip
        members.append(GroupMember(name, loop, stats, pulse))
    naming.set_device_name(device)
    return CameraGroup(members, shared, SystemdNotifier(), StatusFile())


def _is_common(address: str) -> bool:
    """Return True for a sink that can take the messages of all cameras."""
    kind = address.partition(":")[0].partition("?")[0].lower()
    return kind in ("-", "jsonl", "udp", "webhook", "exec") and _PLACEHOLDER not in address


def _refuse_common_topics(addresses: Sequence[str]) -> None:
    """Raise InputError for an MQTT topic that is the same for all cameras: each one has its own state and switch."""
    for address in addresses:
        scheme, _, rest = address.partition("://")
        topic = rest.partition("?")[0].partition("/")[2]
        if scheme.lower() in ("mqtt", "mqtts") and topic and not any(name in topic for name in _NAMES_OF_CAMERAS):
            raise InputError(
                f"sink {mask_credentials(address)!r}: expected {_PLACEHOLDER} or {{name}} in the topic, or no topic: "
                "there are several cameras"
            )


def _make_output(output: OutputConfig, common: Sequence[str], device: str, name: str, number: int) -> OutputConfig:
    """Return the output of one camera: `{camera}` is replaced, and the device is named after the camera."""
    slug = naming.make_slug(name)
    own = [address.replace(_PLACEHOLDER, slug) for address in output.sinks if address not in common]
    full_name = f"{device} {name}"
    if not naming.is_valid_name(full_name):
        raise InputError(
            f"name {full_name!r}: expected at most {naming.MAX_NAME_LENGTH} characters with the name of the camera"
        )
    return replace(
        output,
        name=full_name,
        sinks=tuple(_shift_port(address, number) for address in own),
        record=output.record.replace(_PLACEHOLDER, slug),
    )


def _refuse_equal_ports(addresses: Sequence[str], cameras: int) -> None:
    """Raise InputError if two pages would get the same port."""
    ports: set[int] = set()
    for address in addresses:
        page = find_page(address)
        if page is None:
            continue
        if page.port in ports:
            raise InputError(
                f"sink {mask_credentials(address)!r}: two pages would use port {page.port}, because each of the "
                f"{cameras} cameras has the next port; leave {cameras} ports between two http:// sinks"
            )
        ports.add(page.port)


def _shift_port(address: str, number: int) -> str:
    """Return the address of the page of a camera: each camera has the next port."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return address  # the factory reports it
    scheme = parts.scheme.lower()
    if scheme not in PAGE_PORTS or port == 0:
        return address
    port = (PAGE_PORTS[scheme] if port is None else port) + number
    host = parts.netloc.rpartition(":")[0] if parts.port is not None else parts.netloc
    return parts._replace(netloc=f"{host}:{port}").geturl()
