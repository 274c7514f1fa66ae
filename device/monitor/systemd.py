"""Messages to systemd: start, watchdog, status and stop of the service (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from time import monotonic


class SystemdNotifier:
    """Sender of messages to systemd. It does nothing if the process was not started by systemd with a notify socket."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read the socket and the watchdog interval from NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        is_for_this_process = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Four times as often as systemd requires.
        self._watchdog_interval_s = int(watchdog_us) / 4e6 if watchdog_us.isdigit() and is_for_this_process else None
        self._watchdog_sent_s = 0.0
        self._is_ready = self._ready_sent = False

    def notify_ready(self) -> None:
        """Report that the service is ready: the loop has processed its first frame."""
        self._is_ready = True
        self._ready_sent = self._send("READY=1")

    def notify_alive(self) -> None:
        """Send the watchdog message if it is due. The loop may call it as often as it likes.

        A loop that hangs does not call it, and systemd restarts the service. If the ready message was not accepted
        before, it is sent again.
        """
        if self._is_ready and not self._ready_sent:
            self._ready_sent = self._send("READY=1")
        if not self._is_ready or self._watchdog_interval_s is None:
            return
        if monotonic() - self._watchdog_sent_s >= self._watchdog_interval_s:
            self._watchdog_sent_s = monotonic()
            self._send("WATCHDOG=1")

    def notify_status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send("STATUS=" + " ".join(text.split()))

    def notify_stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> bool:
        """Send without waiting; return False if the message was not accepted.

        The loop must not wait for systemd: while the service manager is busy, its socket takes only ten messages
        (`net.unix.max_dgram_qlen`), and a plain `send` would block until it reads them.
        """
        if not self._address:
            return False
        # An address that begins with @ is in the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.setblocking(False)
                link.connect(address)
                link.send(message.encode())
        except OSError:
            return False  # systemd is busy or has gone, or there are no free descriptors; the loop continues
        return True
