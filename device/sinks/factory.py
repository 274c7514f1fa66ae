"""Parser of sink addresses.

Examples: `-`, `jsonl:poses.jsonl?rotate=10MB`, `mqtts://user@host/topic`, `udp://host:port`, `http://127.0.0.1:8080`,
`webhook:https://host/path#ca=FILE`, `exec:/path/to/program`.
"""

from __future__ import annotations

import difflib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ...runtime.errors import InputError
from ...runtime.io.atomic import expand_home
from ...runtime.io.naming import fill_placeholders, get_device_name, make_placeholder_values
from ...runtime.io.read_file import read_text
from ...runtime.io.redact import mask_credentials
from ..events.event import RuleInfo
from ..monitor.stats import Stats
from .base import Sink
from .home_assistant import PageAddress
from .jsonl import Only
from .privacy import Privacy
from .sizes import BYTES_PER_UNIT

_ADDRESS_FORMATS = (
    "-",
    "jsonl:FILE",
    "mqtt://HOST/TOPIC",
    "mqtts://HOST/TOPIC",
    "udp://HOST:PORT",
    "http://HOST:PORT",
    "https://HOST:PORT",
    "webhook:https://HOST/PATH",
    "exec:PROGRAM",
)
_SCHEMES = ("jsonl", "mqtts", "mqtt", "udp", "http", "https", "webhook", "exec")
_OTHER_SCHEMES = {
    "ssl": "mqtts",
    "tls": "mqtts",
    "mqtt+ssl": "mqtts",
    "mqtt+tls": "mqtts",
    "tcp": "mqtt",
    "file": "jsonl",
}
"""Schemes of other programs, with our scheme for the error message."""
_FILE_OPTIONS_PATTERN = re.compile(r"\w+=[^&]*(?:&\w+=[^&]*)*", re.ASCII)
"""Options at the end of `jsonl:FILE?...`. Any other text after `?` is a part of the file name."""
_ORIGIN_PATTERN = re.compile(r"https?://[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_TLS_FILE_OPTIONS = ("ca", "cert", "key")
_TLS_OPTION_NAMES = (*_TLS_FILE_OPTIONS, "server_name")
PAGE_PORTS = {"http": 8080, "https": 8443}
_MAX_IMAGE_INTERVAL_S = 86400
_MIN_SECRET_BYTES = 16
_DEFAULT_DISCOVERY, _REMOVE_DISCOVERY = "homeassistant", "remove"


@dataclass(frozen=True)
class _Device:
    """Name and placeholder values of this device, and what its sinks share."""

    name: str
    placeholders: Mapping[str, str]
    pause: threading.Event | None
    page: PageAddress | None
    rules: tuple[RuleInfo, ...]


def open_sinks(
    addresses: Sequence[str],
    stats: Stats,
    privacy: Privacy | None,
    *,
    insecure: bool = False,
    name: str = "",
    source: str = "",
    pause: threading.Event | None = None,
    rules: Sequence[RuleInfo] = (),
) -> list[Sink]:
    """Create sinks from their addresses. They are not started.

    Args:
        addresses: One address per sink, see docs/guides/camera.md. The placeholders `{hostname}`, `{name}` and
            `{source}` are replaced in file names and topics.
        stats: Statistics that the web page shows.
        privacy: Privacy mode of the images on the web page; None is an error if there is a page.
        insecure: If True, other computers may see the web page without a token.
        name: Display name of this device; default: `naming.get_device_name()`.
        source: Camera source as given by the user, for `{source}`.
        pause: Event that MQTT commands set and clear; None: commands are not accepted.
        rules: Rules of the configuration, which MQTT announces to Home Assistant.

    Raises:
        InputError: An address is not valid. The message says what was expected and what was given.
        ValueError: An option is out of range.
    """
    name = name or get_device_name()
    page = next(filter(None, map(find_page, addresses)), None)
    device = _Device(name, make_placeholder_values(name, source or "camera"), pause, page, tuple(rules))
    return [_open_sink(text, stats, privacy, insecure, device) for text in addresses]


def find_page(text: str) -> PageAddress | None:
    """Return the address of the web page, for the link in Home Assistant; None for other and for wrong addresses."""
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None
    if scheme not in ("http", "https") or not host or port == 0:
        return None
    return PageAddress(scheme, host, port or PAGE_PORTS[scheme])


def open_recording(text: str, privacy: Privacy | None, name: str, source: str) -> Sink:
    """Create the sink that records a video. It is not started.

    Args:
        text: `FILE`, or `FILE?minutes=10&size=200MB&limit=2GB`, see docs/guides/camera.md. Placeholders are replaced.
        privacy: Privacy mode of the images; None is an error.
        name: Display name of this device.
        source: Camera source as given by the user, for `{source}`.

    Raises:
        InputError: The file name or an option is not valid, or there is no privacy mode.
        ValueError: An option is out of range.
    """
    from .record import RecordSink, Rotation

    if privacy is None:
        raise InputError(
            "--record: no privacy mode for the recorded images; choose with --privacy none, blur or silhouette"
        )
    file, options = _split_file_options(text, "record")
    _check_options(text, options, "minutes", "size", "limit", kind="record")
    where = f"record {text!r}"
    rotation = Rotation()
    try:
        if "minutes" in options:
            rotation = replace(rotation, minutes=_parse_number(text, options["minutes"], 10**6, kind="record"))
        sizes = {key: _parse_bytes(text, options[key], kind="record") for key in ("size", "limit") if key in options}
        rotation = replace(rotation, size_bytes=sizes.get("size"), limit_bytes=sizes.get("limit"))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    path = Path(expand_home(fill_placeholders(file, make_placeholder_values(name, source), "record")))
    return RecordSink(path, privacy, rotation)


def _open_sink(text: str, stats: Stats, privacy: Privacy | None, insecure: bool, device: _Device) -> Sink:
    if text == "-" or text.startswith("-?"):
        from .jsonl import StdoutSink

        options = _parse_options(text, text[2:])
        _check_options(text, options, "only")
        return StdoutSink(_parse_only(text, options, device))
    kind, colon, rest = text.partition(":")
    kind = kind.lower() if colon else ""
    if kind == "jsonl":
        return _open_file_sink(text, rest, device)
    if kind == "exec":
        return _open_program_sink(text, rest, device)
    if kind == "webhook":
        return _open_webhook_sink(rest, device)
    if kind not in _SCHEMES:
        raise InputError(
            f"sink {mask_credentials(text)!r}: expected {', '.join(_ADDRESS_FORMATS)}{_suggest_scheme(text, kind)}"
        )
    masked = mask_credentials(text)
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InputError(f"sink {masked!r}: {error}") from None
    options = _parse_options(masked, parts.query)
    if "#" in text:
        raise InputError(f"sink {masked!r}: expected no '#'; write %23 for a '#' in the user name")
    if kind in ("mqtt", "mqtts"):
        return _open_mqtt_sink(masked, parts, options, stats, privacy, device)
    if kind == "udp":
        from .udp import UdpSink

        _check_options(masked, options)
        if parts.path.strip("/"):
            raise InputError(f"sink {masked!r}: expected udp://HOST:PORT without a path")
        return UdpSink(_get_host(masked, parts), _get_port(masked, parts, None))
    return _open_page_sink(masked, parts, options, stats, privacy, insecure, device)


def _open_page_sink(
    text: str,
    parts: SplitResult,
    options: dict[str, str],
    stats: Stats,
    privacy: Privacy | None,
    insecure: bool,
    device: _Device,
) -> Sink:
    from .http import HttpSink
    from .http_access import PageOptions

    tls = parts.scheme.lower() == "https"
    _check_options(text, options, "host", "proxy", "path", "frame-ancestors", *(("cert", "key") if tls else ()))
    if privacy is None:
        raise InputError(
            f"sink {text!r}: the page shows camera images; choose with --privacy none, blur or silhouette (or with "
            "privacy = in the configuration)"
        )
    if tls and not options.get("cert"):
        raise InputError(f"sink {text!r}: HTTPS needs a certificate; add ?cert=FILE&key=FILE")
    if parts.path.strip("/"):
        raise InputError(
            f"sink {text!r}: expected an address without a path, got {parts.path!r}; for a proxy add ?path={parts.path}"
        )
    path = options.get("path", "").strip("/")
    if path and not re.fullmatch(r"[\w.~-]+(/[\w.~-]+)*", path, re.ASCII):
        raise InputError(f"sink {text!r}: expected a path such as /door, got {options['path']!r}")
    page = PageOptions(
        hosts=frozenset(name.lower() for name in _split_list(options.get("host", ""))),
        proxies=tuple(_parse_network(text, name) for name in _split_list(options.get("proxy", ""))),
        path=f"/{path}" if path else "",
        certificate=expand_home(options.get("cert", "")),
        key=expand_home(options.get("key", "")),
        frame_ancestors=tuple(_parse_origin(text, name) for name in _split_list(options.get("frame-ancestors", ""))),
    )
    port = _get_port(text, parts, PAGE_PORTS[parts.scheme.lower()], minimum=0)
    return HttpSink(_get_host(text, parts), port, stats, privacy, insecure=insecure, options=page, device=device.name)


def _parse_network(text: str, name: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(name)
    except ValueError:
        raise InputError(f"sink {text!r}: expected proxy=ADDRESS or proxy=NETWORK/BITS, got {name!r}") from None


def _parse_origin(text: str, origin: str) -> str:
    # Only what cannot end the directive of the header or allow more than one site.
    if not _ORIGIN_PATTERN.fullmatch(origin):
        raise InputError(
            f"sink {text!r}: expected frame-ancestors=http://NAME[:PORT] or https://NAME[:PORT] of the dashboard, "
            f"without a path, got {origin!r}"
        )
    return origin


def _split_list(values: str) -> list[str]:
    return [value.strip() for value in values.split(",") if value.strip()]


def _suggest_scheme(text: str, kind: str) -> str:
    if not kind and Path(text).suffix in (".jsonl", ".json", ".txt", ".log"):
        return f"; did you mean jsonl:{text}?"
    close = difflib.get_close_matches(kind or text, _SCHEMES, n=1)
    near = _OTHER_SCHEMES.get(kind) or (close[0] if close else "")
    return f"; did you mean {near}?" if near else ""


def _parse_options(text: str, query: str, *, kind: str = "sink") -> dict[str, str]:
    """Parse `key=value&key=value`. Raises InputError if an option is given twice."""
    options: dict[str, str] = {}
    # Not parse_qsl: it replaces + in file names with a space and drops options without a value.
    for option in query.split("&") if query else ():
        key, _, value = (unquote(part) for part in option.partition("="))
        if key in options:
            raise InputError(f"{kind} {text!r}: option {key!r} is given twice")
        options[key] = value
    return options


def _open_file_sink(text: str, rest: str, device: _Device) -> Sink:
    from .jsonl import FileSink

    name, options = _split_file_options(rest, "sink", text)
    _check_options(text, options, "rotate", "keep", "fsync", "only")
    path = _parse_path(text, name.removeprefix("//"), device)
    file_options: dict[str, object] = {"only": _parse_only(text, options, device)}
    if "rotate" in options:
        file_options["rotate_bytes"] = _parse_bytes(text, options["rotate"])
    if "keep" in options:
        file_options["keep"] = _parse_number(text, options["keep"], 1000)
    if "fsync" in options:
        file_options["fsync"] = options["fsync"]
    return FileSink(path, **file_options)  # type: ignore[arg-type]


def _parse_only(text: str, options: dict[str, str], device: _Device) -> Only | None:
    value = options.get("only")
    if value == "events":
        _require_rules(text, device)
        return "events"
    if value not in (None, "poses"):
        raise InputError(f"sink {text!r}: expected only=poses or only=events, got {value!r}")
    return "poses" if value else None


def _require_rules(text: str, device: _Device) -> None:
    if not device.rules:
        raise InputError(f"sink {text!r}: there are no rules that report events; add [events] to the configuration")


def _open_program_sink(text: str, rest: str, device: _Device) -> Sink:
    from .program import ProgramSink

    name, options = _split_file_options(rest, "sink", text)
    _check_options(text, options, "timeout")
    _require_rules(text, device)
    if "/" not in name or "\0" in name:
        raise InputError(f"sink {text!r}: expected the path of a program after exec:, such as exec:/opt/alarm")
    path = Path(expand_home(name)).absolute()
    if not path.exists() and " " in name:
        raise InputError(
            f"sink {text!r}: there is no such file; arguments are not supported: write a small script that calls the "
            "program with them"
        )
    return ProgramSink(path, _parse_positive(text, options, "timeout", 10, 3600))


def _open_webhook_sink(address: str, device: _Device) -> Sink:
    """Create the sink for `webhook:URL#key=value&key=value`. The query of the URL belongs to the receiver."""
    from .mqtt_tls import Tls
    from .webhook import WebhookSink, find_default_folder
    from .webhook_queue import QueueLimits
    from .webhook_request import Target

    url, _, fragment = address.partition("#")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InputError(f"sink 'webhook:': {error}") from None
    # Path and query of a webhook are often secret, so no message contains them.
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"sink {'webhook:' + _mask_webhook(url)!r}: expected webhook:https://HOST/PATH or webhook:http://HOST/PATH"
        )
    text = f"webhook:{parts.scheme}://{parts.hostname}"
    if parts.username is not None or parts.password is not None:
        raise InputError(f"sink {text!r}: user names and passwords are not allowed in the address")
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    if not re.fullmatch(r"[!-~]+", path):
        raise InputError(f"sink {text!r}: expected a path of printable ASCII characters; write others as %XX")
    options = _parse_options(text, fragment)
    secure = parts.scheme == "https"
    _check_options(
        text, options, "secret", "timeout", "folder", "events", "size", "hours", *(("ca",) if secure else ())
    )
    _require_rules(text, device)
    files = {key: _parse_path(text, options[key], device) for key in ("ca", "secret") if key in options}
    folder = find_default_folder(url)
    if "folder" in options:
        folder = _parse_path(text, options["folder"], device) if options["folder"] else None
    limits = QueueLimits()
    return WebhookSink(
        Target(
            parts.hostname,
            _get_port(text, parts, 443 if secure else 80),
            path,
            Tls(ca=files.get("ca")).make_context() if secure else None,
            _read_webhook_secret(text, files.get("secret")),
            _parse_positive(text, options, "timeout", 10, 300),
        ),
        folder,
        QueueLimits(
            _parse_positive(text, options, "events", limits.events, 100_000),
            _parse_bytes(text, options["size"]) if "size" in options else limits.size_bytes,
            _parse_positive(text, options, "hours", 24, 8760) * 3600.0,
        ),
    )


def _mask_webhook(url: str) -> str:
    """Return an address that is not valid without what can be secret: user name, password, path and query."""
    start = re.match(r"(?:[a-z][a-z0-9+.-]*://)?", url, re.IGNORECASE)
    scheme = start[0] if start else ""
    host, separator, _ = url.removeprefix(scheme).partition("/")
    is_secret = "@" in url or "?" in host
    return f"{scheme}{'***' if is_secret else f'{host[:64]}{separator}***' if separator else host[:64]}"


def _read_webhook_secret(text: str, file: Path | None) -> bytes:
    """Return the key of the signature from a file or the environment; empty if there is none."""
    from .webhook import SECRET_VARIABLE
    from .webhook_request import parse_secret

    secret, where = os.environ.get(SECRET_VARIABLE, ""), SECRET_VARIABLE
    if file is not None:
        where = str(file)
        try:
            secret = read_text(file)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not valid UTF-8"
            raise InputError(f"sink {text!r}: {file}: cannot read the secret: {reason}") from None
    try:
        key = parse_secret(secret)
    except ValueError as error:
        raise InputError(f"sink {text!r}: {where}: {error}") from None
    if (key or file is not None) and len(key) < _MIN_SECRET_BYTES:
        raise InputError(
            f"sink {text!r}: {where}: expected a secret of {_MIN_SECRET_BYTES} bytes or more, got {len(key)}"
        )
    return key


def _parse_positive(text: str, options: dict[str, str], name: str, default: int, maximum: int) -> int:
    if name not in options:
        return default
    if not (number := _parse_number(text, options[name], maximum)):
        raise InputError(f"sink {text!r}: expected {name} of 1 to {maximum}, got 0")
    return number


def _split_file_options(name: str, kind: str, text: str = "") -> tuple[str, dict[str, str]]:
    """Split `FILE?key=value&key=value`. Any other text after `?` is a part of the file name."""
    before, _, after = name.rpartition("?")
    has_options = bool(before) and _FILE_OPTIONS_PATTERN.fullmatch(after) is not None
    return (before, _parse_options(text or name, after, kind=kind)) if has_options else (name, {})


def _parse_path(text: str, name: str, device: _Device) -> Path:
    if not name or "\0" in name:
        raise InputError(f"sink {text!r}: expected the name of a file after jsonl:")
    return Path(expand_home(fill_placeholders(name, device.placeholders, f"sink {text!r}")))


def _open_mqtt_sink(
    text: str, parts: SplitResult, options: dict[str, str], stats: Stats, privacy: Privacy | None, device: _Device
) -> Sink:
    from .mqtt import PASSWORD_VARIABLE, MqttOptions, MqttSink
    from .mqtt_tls import Tls

    secure = parts.scheme == "mqtts"
    host = _get_host(text, parts)
    if parts.password is not None:
        raise InputError(
            f"{parts.scheme}://{host}: passwords are not allowed in the address; "
            f"put the password into {PASSWORD_VARIABLE}"
        )
    if not secure and (found := [key for key in _TLS_OPTION_NAMES if key in options]):
        raise InputError(f"sink {text!r}: option {found[0]!r} needs mqtts://")
    names = ("qos", "discovery", "image", "pause", *(_TLS_OPTION_NAMES if secure else ()))
    _check_options(text, options, *names)
    files = {key: _parse_path(text, options[key], device) for key in _TLS_FILE_OPTIONS if key in options}
    if "key" in files and "cert" not in files:
        raise InputError(f"sink {text!r}: option 'key' needs 'cert'")
    topic = fill_placeholders(unquote(parts.path).lstrip("/"), device.placeholders, f"sink {text!r}")
    # `remove` uses the default prefix, `remove:PREFIX` another one.
    discovery = options.get("discovery", _DEFAULT_DISCOVERY)
    remove = discovery.partition(":")[0] == _REMOVE_DISCOVERY
    if remove:
        discovery = discovery.partition(":")[2] or _DEFAULT_DISCOVERY
    image_interval_s = _parse_number(text, options.get("image", "0"), _MAX_IMAGE_INTERVAL_S)
    if image_interval_s and privacy is None:
        raise InputError(
            f"sink {text!r}: option 'image' publishes camera images; choose with --privacy none, blur or silhouette "
            "(or with privacy = in the configuration)"
        )
    return MqttSink(
        host,
        _get_port(text, parts, 8883 if secure else 1883),
        stats,
        topic,
        user=unquote(parts.username or ""),
        device=device.name,
        tls=Tls(**files, server_name=options.get("server_name", "")) if secure else None,
        options=MqttOptions(
            qos=_parse_number(text, options.get("qos", "0"), 2),
            discovery=fill_placeholders(discovery, device.placeholders, f"sink {text!r}"),
            remove_discovery=remove,
            image_interval_s=image_interval_s,
            privacy=privacy or "silhouette",
            pause=device.pause if _parse_switch(text, "pause", options.get("pause", "on")) else None,
            page=device.page,
            rules=device.rules,
        ),
    )


def _parse_switch(text: str, name: str, value: str) -> bool:
    if value not in ("on", "off"):
        raise InputError(f"sink {text!r}: expected {name}=on or {name}=off, got {value!r}")
    return value == "on"


def _get_host(text: str, parts: SplitResult) -> str:
    if not parts.hostname:
        raise InputError(f"sink {text!r}: expected a host name after //")
    return parts.hostname


def _get_port(text: str, parts: SplitResult, default: int | None, minimum: int = 1) -> int:
    try:
        port = parts.port
    except ValueError:
        port = -1
    if port is None and default is not None:
        return default
    if port is None or not minimum <= port <= 65535:
        raise InputError(f"sink {text!r}: expected a port from {minimum} to 65535")
    return port


def _check_options(text: str, options: dict[str, str], *allowed: str, kind: str = "sink") -> None:
    for key in options:
        if key not in allowed:
            close = difflib.get_close_matches(key, allowed, n=1)
            # The message omits the options: a misspelled one may contain a password.
            raise InputError(
                f"{kind} {text.partition('?')[0]!r}: unknown option {key!r}"
                + (f"; did you mean {close[0]}?" if close else "")
            )


def _parse_bytes(text: str, value: str, *, kind: str = "sink") -> int:
    unit = value[-2:] if value[-2:] in BYTES_PER_UNIT else ""
    return _parse_number(text, value.removesuffix(unit), 10**6, kind=kind) * BYTES_PER_UNIT.get(unit, 1)


def _parse_number(text: str, value: str, maximum: int, *, kind: str = "sink") -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= maximum):
        raise InputError(f"{kind} {text!r}: expected a number up to {maximum}, got {value!r}")
    return int(value)
