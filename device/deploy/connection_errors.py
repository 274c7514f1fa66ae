"""Explanations of failed SSH connections: name not found, refused, no answer, key or user refused, changed host key."""

from __future__ import annotations

import errno
import getpass
import socket
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from .host_keys import SshConnection

_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN)
_CONNECT_TIMEOUT_S = 10.0


def explain(error: BaseException, link: SshConnection) -> str:
    """Return one line: what went wrong with a connection, and what to do.

    Args:
        error: What pyinfra, paramiko or a socket has raised.
        link: The connection.
    """
    for cause in _list_causes(error):
        if text := _explain_network(cause, link) or _explain_ssh(cause, link):
            return text
    return " ".join(str(error.args[0] if error.args else error).split()) or type(error).__name__


def diagnose_port(link: SshConnection) -> str:
    """Connect to the port of a board that sent no host key, and return why it did not."""
    try:
        with socket.create_connection((link.hostname, link.port), _CONNECT_TIMEOUT_S):
            pass
    except OSError as error:
        return explain(error, link)
    return f"port {link.port} answers, but not as an SSH server; if the board has just started, wait a minute"


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that it was raised from, the first cause last."""
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        # paramiko: the errors of all addresses of a host
        addresses = getattr(cause, "errors", None)
        if isinstance(addresses, dict):
            yield from (entry for entry in addresses.values() if isinstance(entry, BaseException))
        cause = cause.__cause__ or cause.__context__


def _explain_network(error: BaseException, link: SshConnection) -> str:
    if isinstance(error, socket.gaierror):
        local = (
            "names with .local need mDNS, which some networks and guest Wi-Fis block; try the IP address"
            if link.hostname.endswith(".local")
            else "or use the IP address"
        )
        return f"cannot be reached: the name {link.hostname} is not known (DNS); check the spelling; {local}"
    if isinstance(error, ConnectionRefusedError):
        return (
            f"cannot be reached: connection refused on port {link.port}; turn on SSH in the settings of Raspberry Pi "
            "Imager or with raspi-config on the board, and check the port"
        )
    if isinstance(error, TimeoutError):
        return "cannot be reached: no answer; check that the board is on and in this network, and its address"
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return "cannot be reached: no route to this address; check that the board is on and in this network"
    return ""


def _explain_ssh(error: BaseException, link: SshConnection) -> str:
    # paramiko is imported by pyinfra. Without it there are no such errors.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = str(error)
    copy_key = f"ssh-copy-id {'' if link.port == 22 else f'-p {link.port} '}{link.user}@{link.alias}"
    if "BadHostKeyException" in kinds:
        file = (
            "" if link.known_hosts == Path("~/.ssh/known_hosts").expanduser() else f" -f {quote(str(link.known_hosts))}"
        )
        return (
            "its host key has changed, so it is not trusted; if you have flashed its card again, run ssh-keygen -R "
            f"{quote(link.listed_as)}{file}; if not, another machine answers at this address"
        )
    if "PasswordRequiredException" in kinds:
        return "the private key has a passphrase; run ssh-add, or use another key with -i"
    if "No authentication methods available" in text:
        return f"there is no SSH key on this machine; run ssh-keygen -t ed25519, then {copy_key}"
    if "AuthenticationException" in kinds:
        if link.user == getpass.getuser():
            return (
                f"login refused for the user {link.user}, which is your user name here; name the user of the board, "
                f"such as pi@{link.alias}, or copy your key to the board: {copy_key}"
            )
        return (
            f"login refused for the user {link.user}: the board does not have your SSH key, or no such user; copy the "
            f"key with {copy_key}; Raspberry Pi Imager sets the user name, there is no user pi by default"
        )
    if isinstance(error, EOFError) or "protocol banner" in text:
        return f"port {link.port} answers, but not as an SSH server; if the board has just started, wait a minute"
    return ""
