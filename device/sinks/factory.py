"""Sinks from what a user writes: `-`, `jsonl:poses.jsonl?rotate=10MB`, `mqtts://user@host/topic`, `udp://host:port`,
and `http://127.0.0.1:8080`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ...runtime.errors import InputError
from ...runtime.io.atomic import expand_home
from ...runtime.io.naming import device_name, fill_placeholders, placeholder_values
from ...runtime.io.redact import mask_credentials
from ..monitor.stats import Stats
from .base import Sink
from .privacy import Privacy

KINDS = (
    "-",
    "jsonl:FILE",
    "mqtt://HOST/TOPIC",
    "mqtts://HOST/TOPIC",
    "udp://HOST:PORT",
    "http://HOST:PORT",
    "https://HOST:PORT",
)
_SCHEMES = ("jsonl", "mqtts", "mqtt", "udp", "http", "https")
_OTHER_SCHEMES = {
    "ssl": "mqtts",
    "tls": "mqtts",
    "mqtt+ssl": "mqtts",
    "mqtt+tls": "mqtts",
    "tcp": "mqtt",
    "file": "jsonl",
}
"""What other programs call them."""
_UNITS = {"kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_FILE_OPTIONS = re.compile(r"\w+=[^&]*(?:&\w+=[^&]*)*", re.ASCII)
"""What makes the end of `jsonl:FILE?...` options; anything else after a `?` belongs to the name of the file."""
_TLS_OPTIONS = ("ca", "cert", "key")


@dataclass(frozen=True)
class _Device:
    """What a sink has to know about this device."""

    name: str
    values: Mapping[str, str]
    """Of the placeholders."""


def open_sinks(
    wanted: Sequence[str],
    stats: Stats,
    privacy: Privacy | None,
    *,
    insecure: bool = False,
    name: str = "",
    source: str = "",
) -> list[Sink]:
    """Return the sinks, not started.

    Args:
        wanted: One text per sink, see docs/camera.md. `{hostname}`, `{name}` and `{source}` are replaced in file names
            and topics.
        stats: What the page shows.
        privacy: What an image that leaves the process may show.
        insecure: Whether the page may be seen by others without a token.
        name: Display name of this device; default: `naming.device_name()`.
        source: The camera source as the user wrote it, for `{source}`.

    Raises:
        InputError: A text cannot be understood; says what was expected and what was given.
        ValueError: A setting makes no sense.
    """
    name = name or device_name()
    device = _Device(name, placeholder_values(name, source or "camera"))
    return [_open(text, stats, privacy, insecure, device) for text in wanted]


def _open(text: str, stats: Stats, privacy: Privacy | None, insecure: bool, device: _Device) -> Sink:
    if text == "-":
        from .jsonl import StdoutSink

        return StdoutSink()
    kind, colon, rest = text.partition(":")
    kind = kind.lower() if colon else ""
    if kind == "jsonl":
        return _file(text, rest, device)
    if kind not in _SCHEMES:
        raise InputError(f"sink {mask_credentials(text)!r}: expected {', '.join(KINDS)}{_hint(text, kind)}")
    shown = mask_credentials(text)
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InputError(f"sink {shown!r}: {error}") from None
    options = _options(shown, parts.query)
    if "#" in text:
        raise InputError(f"sink {shown!r}: expected no '#'; write %23 for one in a user name")
    if kind in ("mqtt", "mqtts"):
        return _mqtt(shown, parts, options, device)
    if kind == "udp":
        from .udp import UdpSink

        _only(shown, options)
        if parts.path.strip("/"):
            raise InputError(f"sink {shown!r}: expected udp://HOST:PORT without a path")
        return UdpSink(_host(shown, parts), _port(shown, parts, None))
    return _page(shown, parts, options, stats, privacy, insecure)


def _page(
    text: str, parts: SplitResult, options: dict[str, str], stats: Stats, privacy: Privacy | None, insecure: bool
) -> Sink:
    from .http import HttpSink, PageOptions

    tls = parts.scheme.lower() == "https"
    _only(text, options, "host", "proxy", "path", *(("cert", "key") if tls else ()))
    if privacy is None:
        raise InputError(
            f"{text}: the page shows what the camera sees: choose with --privacy none, blur or silhouette (or "
            "privacy = in the configuration)"
        )
    if tls and not options.get("cert"):
        raise InputError(f"sink {text!r}: expected ?cert=FILE (and &key=FILE): HTTPS needs a certificate")
    if parts.path.strip("/"):
        raise InputError(f"sink {text!r}: expected an address without a path; for a proxy add ?path={parts.path}")
    path = options.get("path", "").strip("/")
    if path and not re.fullmatch(r"[\w.~-]+(/[\w.~-]+)*", path, re.ASCII):
        raise InputError(f"sink {text!r}: expected a path such as /door, got {options['path']!r}")
    page = PageOptions(
        hosts=frozenset(name.strip().lower() for name in options.get("host", "").split(",") if name.strip()),
        proxies=tuple(_network(text, name.strip()) for name in options.get("proxy", "").split(",") if name.strip()),
        path=f"/{path}" if path else "",
        certificate=expand_home(options.get("cert", "")),
        key=expand_home(options.get("key", "")),
    )
    port = _port(text, parts, 8443 if tls else 8080, lowest=0)
    return HttpSink(_host(text, parts), port, stats, privacy, insecure=insecure, options=page)


def _network(text: str, name: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(name)
    except ValueError:
        raise InputError(f"sink {text!r}: expected proxy=ADDRESS or NETWORK/BITS, got {name!r}") from None


def _hint(text: str, kind: str) -> str:
    if not kind and Path(text).suffix in (".jsonl", ".json", ".txt", ".log"):
        return f"; did you mean jsonl:{text}?"
    close = difflib.get_close_matches(kind or text, _SCHEMES, n=1)
    near = _OTHER_SCHEMES.get(kind) or (close[0] if close else "")
    return f"; did you mean {near}?" if near else ""


def _options(text: str, query: str) -> dict[str, str]:
    """Return `key=value&key=value` as a dict; an option that is given twice is an error."""
    options: dict[str, str] = {}
    # Not parse_qsl: it makes a space of every + in a file name, and drops options without a value.
    for option in query.split("&") if query else ():
        key, _, value = (unquote(part) for part in option.partition("="))
        if key in options:
            raise InputError(f"sink {text!r}: option {key!r} is given twice")
        options[key] = value
    return options


def _file(text: str, rest: str, device: _Device) -> Sink:
    from .jsonl import FileSink

    before, _, after = rest.rpartition("?")
    has_options = bool(before) and _FILE_OPTIONS.fullmatch(after) is not None
    name, options = (before, _options(text, after)) if has_options else (rest, {})
    _only(text, options, "rotate", "keep", "fsync")
    path = _path(text, name.removeprefix("//"), device)
    given: dict[str, object] = {}
    if "rotate" in options:
        given["rotate_bytes"] = _bytes(text, options["rotate"])
    if "keep" in options:
        given["keep"] = _number(text, options["keep"], 1000)
    if "fsync" in options:
        given["fsync"] = options["fsync"]
    return FileSink(path, **given)  # type: ignore[arg-type]


def _path(text: str, name: str, device: _Device) -> Path:
    if not name or "\0" in name:
        raise InputError(f"sink {text!r}: expected the name of a file")
    return Path(expand_home(fill_placeholders(name, device.values, f"sink {text!r}")))


def _mqtt(text: str, parts: SplitResult, options: dict[str, str], device: _Device) -> Sink:
    from .mqtt import PASSWORD, MqttSink, Tls

    secure = parts.scheme == "mqtts"
    host = _host(text, parts)
    if parts.password is not None:
        raise InputError(f"{parts.scheme}://{host}: put the password into {PASSWORD} instead of the address")
    if not secure and (found := [key for key in _TLS_OPTIONS if key in options]):
        raise InputError(f"sink {text!r}: option {found[0]!r} needs mqtts://")
    _only(text, options, "qos", "discovery", *(_TLS_OPTIONS if secure else ()))
    files = {key: _path(text, options[key], device) for key in _TLS_OPTIONS if key in options}
    if "key" in files and "cert" not in files:
        raise InputError(f"sink {text!r}: option 'key' needs 'cert'")
    topic = fill_placeholders(unquote(parts.path).lstrip("/"), device.values, f"sink {text!r}")
    return MqttSink(
        host,
        _port(text, parts, 8883 if secure else 1883),
        topic,
        user=unquote(parts.username or ""),
        qos=_number(text, options.get("qos", "0"), 2),
        discovery=fill_placeholders(options.get("discovery", "homeassistant"), device.values, f"sink {text!r}"),
        device=device.name,
        tls=Tls(**files) if secure else None,
    )


def _host(text: str, parts: SplitResult) -> str:
    if not parts.hostname:
        raise InputError(f"sink {text!r}: expected a host after //")
    return parts.hostname


def _port(text: str, parts: SplitResult, default: int | None, lowest: int = 1) -> int:
    try:
        port = parts.port
    except ValueError:
        port = -1
    if port is None and default is not None:
        return default
    if port is None or not lowest <= port <= 65535:
        raise InputError(f"sink {text!r}: expected a port from {lowest} to 65535")
    return port


def _only(text: str, options: dict[str, str], *known: str) -> None:
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            # Without the options: a misspelled one may hold a password.
            raise InputError(
                f"sink {text.partition('?')[0]!r}: unknown option {key!r}"
                + (f"; did you mean {close[0]}?" if close else "")
            )


def _bytes(text: str, value: str) -> int:
    unit = value[-2:] if value[-2:] in _UNITS else ""
    return _number(text, value.removesuffix(unit), 10**6) * _UNITS.get(unit, 1)


def _number(text: str, value: str, most: int) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= most):
        raise InputError(f"sink {text!r}: expected a number up to {most}, got {value!r}")
    return int(value)
