"""A real MQTT broker for tests: mosquitto, with and without TLS, and a listener."""

from __future__ import annotations

import ctypes
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..conftest import HANG_S
from .sink_helpers import wait_until


def free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


def end_with_the_test_process() -> None:
    """Make the kernel kill this child with the test process.

    A broker that survives a killed test run would keep its port.
    """
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextmanager
def run_broker(port: int, folder: Path, password_file: str = "", more: str = "") -> Iterator[subprocess.Popen[bytes]]:
    settings = f"listener {port} 127.0.0.1\npersistence false\n{more}"
    settings += f"allow_anonymous false\npassword_file {password_file}\n" if password_file else "allow_anonymous true\n"
    (folder / "mosquitto.conf").write_text(settings + "user root\n")
    child = subprocess.Popen(
        [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(folder / "mosquitto.conf")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=end_with_the_test_process,
    )

    def listens() -> bool:
        assert child.poll() is None, "mosquitto does not start"
        with socket.socket() as link:
            return link.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens)
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def subscribe(port: int, topics: str = "#") -> Iterator[dict[str, list[str]]]:
    """Subscribe to a broker and collect messages by topic, also after restarts of the broker."""
    client_module = pytest.importorskip("paho.mqtt.client")
    heard: dict[str, list[str]] = {}
    listener = client_module.Client(client_module.CallbackAPIVersion.VERSION2)
    listener.on_message = lambda _c, _u, m: heard.setdefault(m.topic, []).append(m.payload.decode())
    listener.on_connect = lambda c, *_: c.subscribe(topics)
    subscribed = threading.Event()
    listener.on_subscribe = lambda *_: subscribed.set()
    listener.reconnect_delay_set(1, 1)
    listener.connect("127.0.0.1", port)
    listener.loop_start()
    try:
        assert subscribed.wait(HANG_S), "the broker does not answer"
        yield heard
    finally:
        listener.disconnect()
        listener.loop_stop()


needs_broker = pytest.mark.skipif(
    shutil.which("mosquitto") is None and not Path("/usr/sbin/mosquitto").exists(),
    reason="mosquitto is not installed (Debian: mosquitto)",
)


def create_authority(folder: Path) -> None:
    """Create a certificate authority, certificates of broker and client, expired ones, and a second authority."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=HANG_S)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other"):
        openssl(
            "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}"
        )
    names = {"broker": "DNS:localhost,IP:127.0.0.1", "elsewhere": "DNS:elsewhere.invalid", "client": "DNS:client"}
    for name, alternative in names.items():
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext")  # fmt: skip
    for name, of in (("expired", "client"), ("late", "broker")):
        openssl("x509", "-req", "-in", f"{of}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "-1", "-extfile", f"{of}.ext")  # fmt: skip
    shutil.copy(folder / "broker.key", folder / "late.key")


def run_tls_broker(port: int, folder: Path, authority: Path, name: str = "broker", client: bool = False) -> Any:
    lines = f"certfile {authority}/{name}.pem\nkeyfile {authority}/{name}.key\n"
    lines += f"cafile {authority}/ca.pem\nrequire_certificate true\n" if client else ""
    return run_broker(port, folder, more=lines)
