"""What downloads share: a limit on what a server sends, progress, and words for what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

_PIECE_BYTES = 1 << 16


class TooLargeError(Exception):
    """A server sends more than the limit."""


def read_pieces(response: requests.Response, limit: int) -> Iterator[bytes]:
    """Iterate over the body of a response.

    Raises:
        TooLargeError: It has more than `limit` bytes.
    """
    received = 0
    for piece in response.iter_content(_PIECE_BYTES):
        received += len(piece)
        if received > limit:
            raise TooLargeError(f"more than {limit / 1e6:.0f} MB")
        yield piece


def save(response: requests.Response, output: Path, limit: int, total: int | None, name: str = "") -> int:
    """Write the body of a response to a file, with progress on a terminal.

    Args:
        response: The response, which was asked for with `stream=True`.
        output: The file.
        limit: The largest number of bytes that is accepted.
        total: The number of bytes to come, for the progress; None if it is not known.
        name: Shown beside the progress.

    Returns:
        The number of bytes that came.

    Raises:
        TooLargeError: As `read_pieces`.
        OSError: The file cannot be written.
    """
    from tqdm import tqdm

    received = 0
    bar = tqdm(total=total, unit="B", unit_scale=True, desc=name or None, disable=None)
    with output.open("wb") as target, bar as progress:
        for piece in read_pieces(response, limit):
            target.write(piece)
            received += len(piece)
            progress.update(len(piece))
    return received


def describe_failure(error: Exception, host: str) -> str | None:
    """Return what went wrong with a request, in plain words; None for what is no failure of the network."""
    kind = type(error).__name__
    # requests reports a time limit that passes while the body comes as a ConnectionError.
    if "Timeout" in kind or "timed out" in str(error):
        return f"{host} does not answer"
    if kind == "ChunkedEncodingError" or "IncompleteRead" in str(error):
        return f"{host} sent less than it promised"
    if kind == "SSLError":
        return f"the certificate of {host} cannot be verified"
    if kind == "ProxyError":
        return f"no connection to {host} through the proxy"
    if "ConnectionError" in kind:
        return f"no connection to {host}"
    return None
