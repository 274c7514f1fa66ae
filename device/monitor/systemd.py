"""What systemd wants to know: that the service is up, that it is alive, that it stops (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from time import monotonic


class Notifier:
    """Talks to systemd where it listens; does nothing elsewhere."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Four times as often as systemd demands.
        self._every_s = int(microseconds) / 4e6 if microseconds.isdigit() and for_us else None
        self._last = 0.0
        self._is_ready = self._ready_sent = False

    def ready(self) -> None:
        """The loop has seen its first frame."""
        self._is_ready = True
        self._ready_sent = self._send("READY=1")

    def alive(self) -> None:
        """Called by the loop itself, as often as it likes: a loop that hangs does not call, and is restarted."""
        if self._is_ready and not self._ready_sent:
            self._ready_sent = self._send("READY=1")
        if self._is_ready and self._every_s is not None and monotonic() - self._last >= self._every_s:
            self._last = monotonic()
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows."""
        self._send("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        """Send without waiting; return False if the message was not taken.

        The loop must not wait for systemd: while the service manager is busy, its socket takes only ten messages
        (`net.unix.max_dgram_qlen`), and a plain `send` would block until it reads them.
        """
        if not self._address:
            return False
        # An address that begins with @ lies in the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.setblocking(False)
                link.connect(address)
                link.send(message.encode())
        except OSError:
            return False  # systemd is busy or has gone, or no descriptors are left: the loop goes on
        return True
