"""Name of this device, ASCII slugs of names, and placeholders in topics and file names."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import socket
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from .redact import mask_credentials

NAME_VARIABLE = "EDGEPOSE_NAME"
"""Environment variable that holds the name of this device; the host name is used if it is empty or not set."""
MAX_NAME_LENGTH = 64
_MAX_SLUG_LENGTH = 40
_HASH_DIGITS = 6
_ASCII_REPLACEMENTS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "oe", "å": "aa", "ł": "l", "đ": "d",
     "ð": "d", "þ": "th", "\u0131": "i"}
)  # fmt: skip
"""Letters that Unicode does not decompose into a letter and a mark, or that need two ASCII letters without the mark."""
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_ASCII_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_configured_name = ""


def get_host_name() -> str:
    """Return the host name.

    Returns:
        The host name. If it is empty or `localhost`, `edgepose-` and six hexadecimal digits of a hash of the machine
        ID, or `edgepose` if there is no machine ID.
    """
    name = socket.gethostname()
    if name and name != "localhost" and not name.startswith("localhost."):
        return name
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine = ""
    return f"edgepose-{_make_short_hash(machine)}" if machine else "edgepose"


def get_device_name() -> str:
    """Return the name set by `set_device_name`, otherwise EDGEPOSE_NAME, otherwise the host name.

    Raises:
        InputError: EDGEPOSE_NAME is not a valid name.
    """
    return _configured_name or resolve_name("")


def set_device_name(name: str) -> None:
    """Set the name that `get_device_name` returns in this process; an empty name restores the default."""
    global _configured_name
    _configured_name = name


def resolve_name(configured: str) -> str:
    """Return the display name of this device, with `{hostname}` replaced by the host name.

    Args:
        configured: The name from the configuration. If it is empty, EDGEPOSE_NAME is used, then the host name.

    Raises:
        InputError: The name is not valid or contains an unknown placeholder.
    """
    where, text = ("name", configured) if configured else (NAME_VARIABLE, os.environ.get(NAME_VARIABLE, ""))
    if not text.strip():
        return get_host_name()
    if not is_valid_name(text):
        raise InputError(f"{where}: expected 1 to {MAX_NAME_LENGTH} printable characters, got {text[:80]!r}")
    return fill_placeholders(text.strip(), {"hostname": get_host_name()}, where)


def is_valid_name(name: str) -> bool:
    """Return True if `name` is a valid display name: 1 to 64 printable characters, not only spaces."""
    return len(name) <= MAX_NAME_LENGTH and name.isprintable() and bool(name.strip())


def make_slug(name: str) -> str:
    """Return an ASCII form of `name` for topics, IDs and file names: letters a-z, digits, `-` and `_`; never empty.

    `Front door` becomes `front-door`, `Küche` becomes `kueche`. If characters are lost (`玄関 1`), six
    hexadecimal digits of a hash of the name are added (`1-8d1c5e`), so that two such names stay different. Slugs are
    at most 40 characters long; longer ones are shortened and get the hash too.
    """
    normalized = unicodedata.normalize("NFC", name).lower()
    decomposed = unicodedata.normalize("NFKD", normalized.translate(_ASCII_REPLACEMENTS))
    unmarked = "".join(character for character in decomposed if not unicodedata.combining(character))
    slug = re.sub(r"[^a-z0-9_]+", "-", unmarked).strip("-")
    if slug.strip("-_") and unmarked.isascii() and len(slug) <= _MAX_SLUG_LENGTH:
        return slug
    short = slug[: _MAX_SLUG_LENGTH - _HASH_DIGITS - 1].strip("-")
    stem = short if short.strip("_") else "device"
    return f"{stem}-{_make_short_hash(normalized)}"


def make_source_slug(source: str) -> str:
    """Return the slug of a camera source, without its credentials, query and folder.

    `v4l2:0` becomes `v4l2-0`, `rtsp://me:secret@10.0.0.9/door` becomes `10-0-0-9-door`, `videos/clip.mp4` becomes
    `clip`, `-` becomes `stdin`.
    """
    if source == "-":
        return "stdin"
    if "://" in source:
        return make_slug(re.split(r"[?#]", mask_credentials(source).partition("://")[2])[0])
    path = Path(source)
    return make_slug(path.stem if path.suffix or len(path.parts) > 1 else source)


def make_placeholder_values(name: str, source: str) -> dict[str, str]:
    """Return the values of `{hostname}`, `{name}` (slug of the display name) and `{source}`."""
    host = get_host_name()
    return {
        "hostname": host if _ASCII_HOST_NAME.fullmatch(host) else make_slug(host),
        "name": make_slug(name),
        "source": make_source_slug(source),
    }


def fill_placeholders(text: str, values: Mapping[str, str], where: str) -> str:
    """Replace `{key}` in `text` by its value; `{{` and `}}` become single braces.

    Args:
        text: The text with placeholders. A brace without a matching one is kept.
        values: The known placeholders and their values.
        where: Name of the option or field that `text` comes from, for the error message.

    Raises:
        InputError: `text` contains a placeholder that is not in `values`.
    """

    def replace_match(match: re.Match[str]) -> str:
        key = match[1]
        if key is None:
            return match[0][0]
        if key in values:
            return values[key]
        close = difflib.get_close_matches(key.strip().lower(), values, n=1)
        hint = f"did you mean {{{close[0]}}}?" if close else "expected " + ", ".join(f"{{{known}}}" for known in values)
        raise InputError(f"{where}: unknown placeholder {{{key}}}; {hint} (write {{{{ for a single brace)")

    return _PLACEHOLDER.sub(replace_match, text)


def _make_short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
