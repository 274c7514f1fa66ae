"""Sinks from what a user writes: `-`, `jsonl:poses.jsonl?rotate=10MB`, `mqtt://user@host/topic`, `udp://host:port`, and
`http://127.0.0.1:8080`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from edgepose.runtime.errors import InputError

from .privacy import Privacy
from .sinks.base import Sink
from .stats import Stats

KINDS = ("-", "jsonl:FILE", "mqtt://HOST/TOPIC", "udp://HOST:PORT", "http://HOST:PORT")
_UNITS = {"kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}


def open_sinks(
    wanted: Sequence[str], stats: Stats, privacy: Privacy | None, *, insecure: bool = False, node: str = "edgepose"
) -> list[Sink]:
    """The sinks, not started. Raises InputError or ValueError saying what was expected and what came."""
    return [_open(text, stats, privacy, insecure, node) for text in wanted]


def _open(text: str, stats: Stats, privacy: Privacy | None, insecure: bool, node: str) -> Sink:
    if text == "-":
        from .sinks.lines import StdoutSink

        return StdoutSink()
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "jsonl":
        return _file(text, parts, options)
    if parts.scheme == "udp":
        from .sinks.udp import UdpSink

        _only(text, options)
        return UdpSink(_host(text, parts), _port(text, parts, None))
    if parts.scheme == "mqtt":
        return _mqtt(text, parts, options, node)
    if parts.scheme == "http":
        from .sinks.http import HttpSink

        _only(text, options)
        if privacy is None:
            raise InputError(
                f"{text}: the page shows what the camera sees: choose with --privacy none, blur or silhouette (or "
                "privacy = in the configuration)"
            )
        return HttpSink(_host(text, parts), _port(text, parts, 8080), stats, privacy, insecure=insecure)
    close = difflib.get_close_matches(parts.scheme or text, ["jsonl", "mqtt", "udp", "http"], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InputError(f"sink {text!r}: expected {', '.join(KINDS)}{hint}")


def _file(text: str, parts: SplitResult, options: dict[str, str]) -> Sink:
    from .sinks.lines import FileSink

    _only(text, options, "rotate", "keep", "fsync")
    path = unquote(parts.netloc + parts.path)
    if not path:
        raise InputError(f"sink {text!r}: expected jsonl:FILE")
    given: dict[str, object] = {}
    if "rotate" in options:
        given["rotate_bytes"] = _bytes(text, options["rotate"])
    if "keep" in options:
        given["keep"] = _number(text, options["keep"], 1000)
    if "fsync" in options:
        given["fsync"] = options["fsync"]
    return FileSink(Path(path), **given)  # type: ignore[arg-type]


def _mqtt(text: str, parts: SplitResult, options: dict[str, str], node: str) -> Sink:
    from .sinks.mqtt import PASSWORD, MqttSink

    _only(text, options, "qos", "discovery")
    if parts.password:
        raise InputError(f"mqtt://{parts.hostname}: a password does not belong here: put it into {PASSWORD}")
    return MqttSink(
        _host(text, parts),
        _port(text, parts, 1883),
        unquote(parts.path.lstrip("/")) or node,
        user=unquote(parts.username or ""),
        qos=_number(text, options.get("qos", "0"), 2),
        discovery=options.get("discovery", "homeassistant"),
        node=node,
    )


def _host(text: str, parts: SplitResult) -> str:
    if not parts.hostname:
        raise InputError(f"sink {text!r}: expected a host after //")
    return parts.hostname


def _port(text: str, parts: SplitResult, default: int | None) -> int:
    try:
        port = parts.port
    except ValueError:
        port = -1
    if port is None and default is not None:
        return default
    if port is None or not 0 <= port <= 65535:
        raise InputError(f"sink {text!r}: expected a port from 0 to 65535")
    return port


def _only(text: str, options: dict[str, str], *known: str) -> None:
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise InputError(f"sink {text!r}: no option {key!r}" + (f"; did you mean {close[0]}?" if close else ""))


def _bytes(text: str, value: str) -> int:
    unit = value[-2:] if value[-2:] in _UNITS else ""
    return _number(text, value.removesuffix(unit), 10**6) * _UNITS.get(unit, 1)


def _number(text: str, value: str, most: int) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= most):
        raise InputError(f"sink {text!r}: expected a number up to {most}, got {value!r}")
    return int(value)
