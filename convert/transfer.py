"""Functions for all downloads: size limit, progress bar, descriptions of network errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.io.messages import show_progress

if TYPE_CHECKING:
    import requests

_CHUNK_BYTES = 1 << 16


class TooLargeError(Exception):
    """Response that is larger than the limit."""


def iterate_chunks(response: requests.Response, limit: int) -> Iterator[bytes]:
    """Iterate over the body of a response.

    Args:
        response: A response to a request with `stream=True`.
        limit: The maximum size of the body in bytes.

    Raises:
        TooLargeError: The body is larger than `limit`.
    """
    received = 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        received += len(chunk)
        if received > limit:
            raise TooLargeError(f"more than {limit / 1e6:.0f} MB")
        yield chunk


def save(response: requests.Response, output: Path, limit: int, total: int | None, name: str = "") -> int:
    """Write the body of a response to a file, with a progress bar on a terminal.

    Args:
        response: A response to a request with `stream=True`.
        output: The file to write.
        limit: The maximum size in bytes.
        total: The expected size in bytes, for the progress bar; None if it is unknown.
        name: Label of the progress bar.

    Returns:
        The number of bytes that were received.

    Raises:
        TooLargeError: The body is larger than `limit`.
        OSError: The file cannot be written.
    """
    received = 0
    with output.open("wb") as target, show_progress(total, name or "downloading", "byte", is_bytes=True) as progress:
        for chunk in iterate_chunks(response, limit):
            target.write(chunk)
            received += len(chunk)
            progress.update(len(chunk))
    return received


def describe_failure(error: Exception, host: str) -> str | None:
    """Return a one-line description of a network error; None for other errors.

    Args:
        error: The exception that requests raised.
        host: The name of the server.
    """
    error_type = type(error).__name__
    # requests raises ConnectionError for a timeout while the body is received.
    if "Timeout" in error_type or "timed out" in str(error):
        return f"{host} does not answer"
    if error_type == "ChunkedEncodingError" or "IncompleteRead" in str(error):
        return f"the download from {host} is incomplete"
    if error_type == "SSLError":
        return f"the certificate of {host} cannot be verified"
    if error_type == "ProxyError":
        return f"no connection to {host} through the proxy"
    if "ConnectionError" in error_type:
        return f"no connection to {host}"
    return None
