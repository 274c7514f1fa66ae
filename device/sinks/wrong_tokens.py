"""Limit of wrong tokens per client, so that a token cannot be guessed by trying."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic

MAX_WRONG_TOKENS = 10
"""Number of different wrong tokens of one client within `WINDOW_S`; then its tokens are not compared any more."""
WINDOW_S = 60.0
_MAX_CLIENTS = 256


@dataclass
class _Client:
    start_s: float
    tokens: set[int] = field(default_factory=set)
    """Hashes of the wrong tokens. The same wrong token again is not a new attempt: a browser sends an old cookie with
    each request."""


class WrongTokens:
    """Counter of the wrong tokens of each client. The event loop of the page owns it."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}

    def get_wait_s(self, address: str) -> int:
        """Return the seconds until tokens of this client are compared again; 0 if it may try now."""
        client = self._clients.get(_get_client_key(address))
        if client is None or len(client.tokens) < MAX_WRONG_TOKENS:
            return 0
        return max(0, math.ceil(client.start_s + WINDOW_S - monotonic()))

    def add(self, address: str, token: bytes) -> None:
        """Count a wrong token."""
        key = _get_client_key(address)
        client = self._clients.get(key)
        if client is None or monotonic() - client.start_s >= WINDOW_S:
            self._clients.pop(key, None)
            while len(self._clients) >= _MAX_CLIENTS:
                self._clients.pop(next(iter(self._clients)))  # the oldest one
            client = self._clients[key] = _Client(monotonic())
        if len(client.tokens) < MAX_WRONG_TOKENS:
            client.tokens.add(hash(token))


def _get_client_key(address: str) -> str:
    """Return the address, or the /64 network of an IPv6 address: one client can use all addresses in it."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or ip_network((parsed, 64), strict=False))
    return str(parsed)
