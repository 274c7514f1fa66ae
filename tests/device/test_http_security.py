"""Attacks on the web page: incomplete requests, invalid bytes, slow readers, other sites, proxies; and HTTPS."""

from __future__ import annotations

import http.client
import json
import logging
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepose.device.config import CameraConfig
from edgepose.device.monitor.log_filter import RepeatFilter
from edgepose.device.monitor.stats import Stats
from edgepose.device.monitor.systemd import SystemdNotifier
from edgepose.device.sinks import metrics
from edgepose.device.sinks.factory import open_sinks
from edgepose.device.sinks.http import HttpSink
from edgepose.device.sinks.wrong_tokens import WrongTokens
from edgepose.device.sources.credentials import add_credentials
from edgepose.device.sources.factory import open_source
from edgepose.runtime.errors import InputError, MissingExtraError

from ..conftest import call_edgepose, measure_slowness
from .sink_helpers import make_message, wait_until
from .test_page import get, log_in, open_stream, page

pytestmark = pytest.mark.once
TOKEN = "correct-horse-battery"


def connect(sink: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sink.port), timeout=120)


def send_request(sink: Any, request: bytes) -> bytes:
    """Send a request and return everything that the server sends until it closes the connection."""
    with connect(sink) as link:
        link.sendall(request)
        received, end = b"", time.monotonic() + 120
        while True:
            assert time.monotonic() < end, "the answer has no end"
            try:
                piece = link.recv(65536)
            except ConnectionError:
                return received
            if not piece:
                return received
            received += piece


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    from edgepose.device.sinks import http_limits

    # A busy machine needs this time to open 32 connections before the first one is closed.
    monkeypatch.setattr(http_limits, "REQUEST_TIMEOUT_S", 2.5)
    monkeypatch.setattr(http_limits, "WRITE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(http_limits, "ANSWER_TIMEOUT_S", 2.5)


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"\r\n\r\n\r\n"])
def test_an_incomplete_request_is_closed_after_the_timeout(short_timeouts: None, start: bytes) -> None:
    """Regression test: two hundred incomplete requests ended the process."""
    with page() as sink, ExitStack() as stack:
        links = [stack.enter_context(connect(sink)) for _ in range(20)]
        for link in links:
            link.sendall(start)
        wait_until(lambda: len(sink._connections) == 20)
        assert get(sink, "/").status == 200, "others are answered meanwhile"
        wait_until(lambda: not sink._connections)


def test_an_incomplete_second_request_is_closed_too(short_timeouts: None) -> None:
    with page() as sink, connect(sink) as link:
        link.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert link.recv(65536).startswith(b"HTTP/1.1 200")
        link.sendall(b"GET / HT")
        wait_until(lambda: not sink._connections)


def test_single_bytes_do_not_extend_the_timeout(short_timeouts: None) -> None:
    with page() as sink, connect(sink) as link:
        with pytest.raises(ConnectionError):
            for _ in range(200):
                link.sendall(b"X")
                time.sleep(0.05)
        wait_until(lambda: not sink._connections)


def test_connections_are_limited() -> None:
    with page() as sink, ExitStack() as stack:
        for _ in range(32):
            stack.enter_context(connect(sink))
        wait_until(lambda: len(sink._connections) == 32)
        with connect(sink) as link, pytest.raises((ConnectionError, AssertionError)):
            assert link.recv(1) == b"x", "it is closed at once"
        assert len(sink._connections) == 32
    assert not sink.thread.is_alive(), "the end does not wait for anybody"


def test_unread_streams_are_closed(short_timeouts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression test: eight unread streams blocked all other clients."""
    # Large images quickly fill the socket buffers.
    monkeypatch.setattr("edgepose.device.sinks.http._encode_jpeg", lambda *_: bytes(1_000_000))
    with page() as sink, ExitStack() as stack:
        for number in range(8):
            link = stack.enter_context(connect(sink))
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda expected=number + 1: sink._clients == expected)
        assert get(sink, "/poses").status == 503

        def room() -> bool:
            sink.send(make_message(int(time.monotonic() * 10) % 5, people=3))
            return int(sink._clients) < 8

        wait_until(room, 60)


def connect_slowly(sink: Any) -> socket.socket:
    """Open a connection with a small receive buffer, so that an unread answer quickly blocks the server."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    link.settimeout(10)
    link.connect(("127.0.0.1", sink.port))
    return link


@pytest.mark.parametrize("token", ["", TOKEN])
def test_unread_answers_are_closed(short_timeouts: None, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Regression test: 32 clients that sent requests and read no answers blocked all others, without a token."""
    if token:
        monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", token)
    with page() as sink, ExitStack() as stack:
        links = [stack.enter_context(connect_slowly(sink)) for _ in range(32)]
        for link in links:
            link.sendall(b"G")
            link.setblocking(False)
        wait_until(lambda: len(sink._connections) == 32)
        requests = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200
        sent = [1] * len(links)
        end = time.monotonic() + 60
        while sink._connections and time.monotonic() < end:
            for number, link in enumerate(links):
                with suppress(OSError):
                    # Continue where the last piece ended, so that all requests are valid.
                    sent[number] += link.send(requests[sent[number] % (len(requests) // 2) :])
            time.sleep(0.01)
        assert not sink._connections
        assert get(sink, "/metrics", Authorization=f"Bearer {TOKEN}").status == 200


def test_an_unread_image_is_closed(short_timeouts: None) -> None:
    with page() as sink, ExitStack() as stack:
        latest = make_message()
        sink.send(latest)
        sink._image = (latest, time.monotonic(), bytes(9_000_000))
        for _ in range(32):
            link = stack.enter_context(connect_slowly(sink))
            link.sendall(b"GET /snapshot.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: len(sink._connections) == 32)
        wait_until(lambda: not sink._connections)
        assert get(sink, "/metrics").status == 200


def test_a_refused_client_cannot_keep_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    with page() as sink:
        for head in ("/ HTTP/1.1\r\nHost: localhost", "/ HTTP/1.1\r\nHost: evil.example"):
            assert b"\r\nConnection: close\r\n" in send_request(sink, f"GET {head}\r\n\r\n".encode())
        known = f"\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        answer = send_request(sink, f"GET /nothing HTTP/1.1{known}".encode())
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"\r\nConnection: close\r\n" in answer
        assert b"nosniff" in answer


def test_the_process_survives_without_free_descriptors(tmp_path: Path) -> None:
    """Regression test: the loop ended if statistics could not be read."""
    pytest.importorskip("aiohttp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "edgepose.runtime.cli", "camera", "--source", "synthetic:1", "--threads", "1", "--fps",
        "5", "--sink", f"http://127.0.0.1:{port}", "--privacy", "silhouette",
    ]  # fmt: skip
    log = tmp_path / "log"
    with log.open("w") as file:
        child = subprocess.Popen(
            command, stderr=file, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
        )
    links: list[socket.socket] = []
    try:

        def healthy() -> bool:
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                link.request("GET", "/healthz")
                return link.getresponse().status == 200
            except OSError:
                return False
            finally:
                link.close()

        wait_until(healthy, 60)
        for _ in range(150):
            try:
                link = socket.create_connection(("127.0.0.1", port), timeout=1)
                link.sendall(b"GET / HT")
                links.append(link)
            except OSError:
                continue
        time.sleep(3)
        assert child.poll() is None, log.read_text()
        for link in links:
            link.close()
        wait_until(healthy, 60)
    finally:
        child.terminate()
        assert child.wait(20) == 0, log.read_text()
    lines = log.read_text().splitlines()
    assert len(lines) < 20, lines[:30]
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe\r\n\r\n", (401,)),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: token=\xff\r\n\r\n", (401,)),
        (b"GET /?token=%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", (401,)),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20000 + b"\r\n\r\n", (400, 431)),
        (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, 414)),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", (400, 403)),
        (b"GET / HTTP/1.1\r\n\r\n", (400, 401, 403)),
        (b"GET /\r\n\r\n", (400,)),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: \xff\r\n\r\n", (401,)),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nExpect: \xff\r\n\r\n", (401,)),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nExpect: \xff\r\n\r\n", (400, 401)),
        (b"GET / HTTP/1.0\r\n\r\n", (400, 403)),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", (400, 403)),
        (b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", (400,)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (400,)),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", (400, 505)),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, 401, 405)),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", (401, 403)),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            (400, 401),
        ),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", (400,)),
    ],
)
def test_bad_bytes_are_refused(
    request_bytes: bytes, statuses: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    with page() as sink:
        head = request_bytes.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        answer = send_request(sink, head)
        assert int(answer.split(b" ", 2)[1]) in statuses, answer[:200]
        assert b"Traceback" not in answer
    assert not [record for record in caplog.records if record.exc_info and record.levelno >= logging.ERROR]


def test_a_token_is_required_on_loopback_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression test: a reverse proxy that connects from 127.0.0.1 made the camera public."""
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    with page() as sink:
        for path in ("/", "/page.js", "/metrics", "/stream.mjpg", "/poses", "/snapshot.jpg", "/healthz", "//", "/%2e/"):
            assert get(sink, path, Host="127.0.0.1").status == 401, path
        assert get(sink, "/metrics", Authorization=f"Bearer {TOKEN}").status == 200
        assert get(sink, "/metrics", Authorization=f"bearer {TOKEN}").status == 200
        again = log_in(sink, f"token={TOKEN}", Cookie="token=an-old-token")
        assert again.status == 303, "after a change of the token"
        proxy = {"Authorization": "Basic bWU6c2VjcmV0", "Cookie": f"token={TOKEN}"}
        assert get(sink, "/", **proxy).status == 200, "the header belongs to the proxy"
        assert get(sink, "/", Cookie="token=", Authorization="Bearer ").status == 401
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", "short")
    with pytest.raises(InputError, match="12 characters or more"), page():
        pass


def test_hosts_are_checked_by_their_exact_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Door.example")
    from edgepose.device.sinks.http import PageOptions

    with page(host="0.0.0.0", insecure=True, options=PageOptions(hosts=frozenset({"camera.home"}))) as sink:
        for host in ("localhost", "127.0.0.1:99", "[::1]:80", "192.168.1.7", "door", "DOOR.local:8080", "camera.home"):
            assert get(sink, "/", Host=host).status == 200, host
        for host in ("evil.example", "localhost.evil.example", "door.evil", "127.0.0.1.evil.example", "xdoor", "",
                     "localhost:evil", "[::1", "localhost..", "door:", "[::1]x", "door/x", "door@evil"):  # fmt: skip
            assert get(sink, "/", Host=host).status in (400, 403), host
        assert get(sink, "/", Host="evil.example", **{"X-Forwarded-Host": "door"}).status == 403, "not a known proxy"


def test_cookies_of_other_programs_on_the_host_do_no_harm() -> None:
    with page() as sink:
        assert get(sink, "/", Cookie="other=" + "x" * 4000).status == 200


def test_head_has_no_body() -> None:
    with page() as sink:
        sink.send(make_message())
        for path in ("/", "/metrics", "/stream.mjpg", "/poses", "/snapshot.jpg"):
            head = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            answer = send_request(sink, head.encode())
            assert answer.startswith(b"HTTP/1.1 200"), path
            assert answer.endswith(b"\r\n\r\n"), path
            assert answer.count(b"\r\n\r\n") == 1, path
        assert not sink._clients


def test_requests_of_other_sites_are_refused() -> None:
    with page() as sink:
        sink.send(make_message())
        for site in ("cross-site", "same-site"):
            other = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
            assert get(sink, "/snapshot.jpg", **other).status == 403
            link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
            assert get(sink, "/", **link).status == 200
            frame = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
            assert get(sink, "/", **frame).status == 403
        answer = get(sink, "/snapshot.jpg", **{"Sec-Fetch-Site": "same-origin"})
        assert answer.status == 200
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_frames_are_allowed_only_for_the_configured_sites() -> None:
    frame = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    address = "http://127.0.0.1:0?frame-ancestors=http://homeassistant.local:8123,https://home.example"
    (sink,) = open_sinks([address], Stats("x"), "blur")
    sink.start()
    try:
        answer = get(sink, "/", **frame)
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "frame-ancestors http://homeassistant.local:8123 https://home.example;" in policy
        assert (
            get(sink, "/snapshot.jpg", **{**frame, "Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}).status
            == 403
        )
        assert get(sink, "/healthz", **{**frame, "Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors"}).status == 403
    finally:
        sink.stop()
    with page() as default:
        assert "frame-ancestors 'none'" in get(default, "/").headers["Content-Security-Policy"]


def test_a_login_from_another_site_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    with page() as sink:
        form = f"token={TOKEN}"
        for origin in ("http://evil.example", "null", "http://[", "http://evil.example:80@localhost.evil.example"):
            assert log_in(sink, form, Origin=origin).status == 403, origin
        navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert log_in(sink, form, **navigation).status == 403
        assert log_in(sink, form, Origin=f"http://localhost:{sink.port}").status == 303
        assert log_in(sink, form, Origin="null", **{"Sec-Fetch-Site": "same-origin"}).status == 303


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5000", b"token=" + b"x" * 4994),
        ("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0", b""),
        ("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 4", b"\xff\x00=&"),
        ("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 11", b"a&b&c&d&e&f"),
        ("Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked", b"5\r\ntoken\r\n0\r\n\r\n"),
        (
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\nContent-Length: 9",
            b"token=abc",
        ),
        ("Content-Type: multipart/form-data\r\nContent-Length: 9", b"token=abc"),
        ("Content-Length: 9", b"token=abc"),
    ],
)
def test_a_login_without_a_form_is_refused(
    head: str, body: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    with page() as sink:
        request = f"POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n\r\n".encode() + body
        assert send_request(sink, request).startswith(b"HTTP/1.1 400")
        assert log_in(sink, f"token={TOKEN}").status == 303
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text


def test_a_form_that_never_ends_is_closed(short_timeouts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    with page() as sink, connect(sink) as link:
        form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100"
        link.sendall(f"POST /login HTTP/1.1\r\nHost: localhost\r\n{form}\r\n\r\ntoken=".encode())
        wait_until(lambda: sink._connections)
        wait_until(lambda: not sink._connections)


def test_wrong_tokens_are_limited(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    clock = [1000.0]
    monkeypatch.setattr("edgepose.device.sinks.wrong_tokens.monotonic", lambda: clock[0])
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    with page() as sink:
        for _ in range(30):
            assert get(sink, "/metrics", Cookie="token=an-old-token").status == 401, "the same token is one attempt"
        for number in range(9):
            wrong = (
                get(sink, "/metrics", Authorization=f"Bearer {number}")
                if number % 2
                else log_in(sink, f"token={number}")
            )
            assert wrong.status == 401
        refused = get(sink, "/metrics", Authorization=f"Bearer {TOKEN}")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "60")
        assert log_in(sink, f"token={TOKEN}").status == 429
        form = log_in(sink, f"token={TOKEN}", Accept="text/html").body
        assert b"Too many wrong tokens. Try again in 60 s." in form
        assert get(sink, "/metrics").status == 401, "there is nothing to compare"
        clock[0] += 60
        assert get(sink, "/metrics", Authorization=f"Bearer {TOKEN}").status == 200
    assert TOKEN not in caplog.text


def test_wrong_tokens_are_counted_per_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    (sink,) = open_sinks(["http://127.0.0.1:0?proxy=127.0.0.1"], Stats("x"), "blur")
    sink.start()
    try:
        for number in range(10):
            attacker = {"X-Forwarded-For": f"{number}.0.0.1, 10.0.0.66"}
            assert get(sink, "/metrics", Authorization=f"Bearer {number}", **attacker).status == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert get(sink, "/metrics", **right, **{"X-Forwarded-For": "10.0.0.66"}).status == 429
        assert get(sink, "/metrics", **right, **{"X-Forwarded-For": "10.0.0.67"}).status == 200
        assert get(sink, "/metrics", **right).status == 200
    finally:
        sink.stop()
    counter = WrongTokens()
    for number in range(10):
        counter.add(f"2001:db8::{number:x}", str(number).encode())
    assert counter.get_wait_s("2001:db8::ffff"), "one client can use all addresses of its network"
    assert not counter.get_wait_s("2001:db8:0:1::1")
    for number in range(10_000):
        counter.add(f"10.0.{number // 250}.{number % 250}", b"x")
    assert len(counter._clients) == 256


def test_headers_of_a_configured_proxy_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    (sink,) = open_sinks(["http://127.0.0.1:0?proxy=127.0.0.0/8,::1&path=/door&host=home.example"], Stats("x"), "blur")
    forwarded = {"X-Forwarded-Host": "home.example", "X-Forwarded-Proto": "https"}
    sink.start()
    try:
        welcome = log_in(sink, f"token={TOKEN}", "/door/login", **forwarded)
        assert (welcome.status, welcome.headers["Location"]) == (303, "/door/?signed-in")
        cookie = welcome.headers["Set-Cookie"]
        assert "Secure" in cookie
        assert "Path=/door/" in cookie
        known = {"Cookie": cookie.partition(";")[0], **forwarded}
        for path in ("/door/", "/door/page.js", "/", "/page.js", "/door/metrics"):
            assert get(sink, path, **known).status == 200, path
        assert get(sink, "/door", **known).headers["Location"] == "/door/"
        assert get(sink, "/", Cookie=known["Cookie"], **{"X-Forwarded-Host": "evil.example"}).status == 403
        assert "Secure" not in log_in(sink, f"token={TOKEN}", "/door/login").headers["Set-Cookie"]
        form = get(sink, "/", Accept="text/html", **forwarded).body
        assert b'action="/door/login"' in form
        assert b'href="/door/base.css"' in form
    finally:
        sink.stop()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Create a certificate for localhost and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_https(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = certificate
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    (sink,) = open_sinks([f"https://127.0.0.1:0?cert={cert}&key={key}"], Stats("x"), "blur")
    sink.start()
    try:
        context = ssl.create_default_context(cafile=str(cert))
        port = sink.port  # type: ignore[attr-defined]
        with closing(http.client.HTTPSConnection("localhost", port, timeout=10, context=context)) as link:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            link.request("POST", "/login", f"token={TOKEN}", form)
            answer = link.getresponse()
            answer.read()
            assert answer.status == 303
            assert "Secure" in str(answer.headers["Set-Cookie"])
            answer.close()
        with connect(sink) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with suppress(ConnectionError):
                assert not plain.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        sink.stop()


def test_connections_are_limited_before_they_speak_tls(
    certificate: tuple[Path, Path], short_timeouts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression test: connections in the TLS handshake were not counted, so a hundred used a hundred descriptors."""
    cert, key = certificate
    (sink,) = open_sinks([f"https://127.0.0.1:0?cert={cert}&key={key}"], Stats("x"), "blur")
    assert isinstance(sink, HttpSink)
    sink.start()
    try:
        with ExitStack() as stack:
            for _ in range(32):
                stack.enter_context(connect(sink))
            wait_until(lambda: len(sink._connections) == 32)
            with connect(sink) as link, suppress(ConnectionError):
                assert link.recv(1) == b"", "it is closed at once"
            wait_until(lambda: not sink._connections)
        with connect(sink):
            wait_until(lambda: sink._connections)
            start = time.monotonic()
            sink.stop()
            assert time.monotonic() - start < 1 * measure_slowness()
            assert not sink.thread.is_alive()
    finally:
        sink.stop()


def test_an_encrypted_key_is_one_line_and_no_question(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    encrypted = tmp_path / "encrypted.pem"
    command = ["openssl", "rsa", "-aes128", "-passout", "pass:abcd", "-in", str(key), "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(InputError, match="not encrypted"):
        open_sinks([f"https://127.0.0.1:0?cert={cert}&key={encrypted}"], Stats("x"), "blur")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://127.0.0.1:0", "HTTPS needs a certificate"),
        ("https://127.0.0.1:0?cert=/nowhere.pem", "/nowhere.pem: cannot be used as a certificate"),
        ("http://127.0.0.1:0?cert=x", "cert"),
        ("http://127.0.0.1:0?proxy=everybody", "expected proxy=ADDRESS"),
        ("http://127.0.0.1:0?path=/a//b", "expected a path such as /door"),
        ("http://127.0.0.1:0/door", "expected an address without a path"),
        ("http://127.0.0.1:0?frame-ancestors=*", "expected frame-ancestors=http://NAME"),
        ("http://127.0.0.1:0?frame-ancestors=https://a.example;script-src", "expected frame-ancestors=http://NAME"),
        ("http://127.0.0.1:0?frame-ancestors=https://a.example/lovelace", "without a path"),
        ("http://127.0.0.1:0?frame-ancestors=homeassistant.local", "expected frame-ancestors=http://NAME"),
        ("http://127.0.0.1:0?frame-ancestor=http://a", "did you mean frame-ancestors?"),
        ("http://127.0.0.1:0?prxy=127.0.0.1", "did you mean proxy?"),
    ],
)
def test_wrong_options_are_one_line(text: str, words: str) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(InputError) as error:
        open_sinks([text], Stats("x"), "blur")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def attacked() -> Iterator[Any]:
    with page() as sink:
        yield sink


PIECES = st.sampled_from(
    [
        b"GET", b"POST", b" ", b"/", b"/stream.mjpg", b"/poses", b"?token=", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n",
        b"\r\n", b"Host: localhost\r\n", b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Cookie: token=", b"\xff",
        b"\0", b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Expect: 100-continue\r\n", b"%", b"x" * 3000,
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES | st.binary(max_size=20), max_size=12))
def test_any_bytes_are_answered_or_closed(attacked: Any, caplog: pytest.LogCaptureFixture, pieces: list[bytes]) -> None:
    caplog.clear()
    with connect(attacked) as link:
        try:
            link.sendall(b"".join(pieces))
            # Do not shut down the sending side: asyncio would close the connection before it is answered.
            link.settimeout(0.1)
            received = link.recv(65536)
        except (ConnectionError, TimeoutError, OSError):
            received = b""
    assert not received.startswith(b"HTTP/1.1 500")
    assert not [record for record in caplog.records if record.exc_info], caplog.text
    assert get(attacked, "/metrics").status == 200


def test_repeated_errors_are_counted_and_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("edgepose.device.monitor.log_filter.monotonic", lambda: clock[0])
    repeat = RepeatFilter()

    def log(text: str, *arguments: object, level: int = logging.ERROR) -> str | None:
        record = logging.LogRecord("x", level, "", 0, text, arguments, None)
        return record.getMessage() if repeat.filter(record) else None

    assert log("no connection to rtsp://me:secret@cam/1, try %d", 1) == "no connection to rtsp://cam/1, try 1"
    assert [log("no connection to rtsp://me:secret@cam/1, try %d", n) for n in range(50)] == [None] * 50
    assert log("another") == "another"
    assert log("12 FPS", level=logging.INFO) == log("12 FPS", level=logging.INFO) == "12 FPS"
    clock[0] = 61
    again = log("no connection to rtsp://me:secret@cam/1, try %d", 52)
    assert again == "no connection to rtsp://cam/1, try 52 (50 more in the last 61 s)"


def test_a_wrong_log_call_of_a_library_does_not_raise() -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "%d frames of %s", ("rtsp://me:secret@cam/1",), None)
    assert RepeatFilter().filter(record)
    assert "secret" not in record.getMessage()


def test_tracebacks_show_no_password() -> None:
    try:
        raise RuntimeError("rtsp://me:secret@cam/1")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "it failed", (), sys.exc_info())
    assert RepeatFilter().filter(record)
    text = logging.Formatter().format(record)
    assert "secret" not in text
    assert "RuntimeError: rtsp://cam/1" in text


def test_credentials_of_cameras_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "camera-password").write_text("p@ss/word\n")
    base = {"EDGEPOSE_CAMERA_USER": "me"}
    assert add_credentials("rtsp://cam/1", {}) == "rtsp://cam/1"
    assert add_credentials("rtsp://a:b@cam/1", base) == "rtsp://a:b@cam/1"
    expected = "rtsp://me:p%40ss%2Fword@cam:554/1?x=1"
    for environment in (
        {"EDGEPOSE_CAMERA_PASSWORD": "p@ss/word"},
        {"EDGEPOSE_CAMERA_PASSWORD_FILE": str(tmp_path / "camera-password")},
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
        {"CREDENTIALS_DIRECTORY": str(tmp_path), "EDGEPOSE_CAMERA_PASSWORD_FILE": "", "EDGEPOSE_CAMERA_PASSWORD": ""},
    ):
        assert add_credentials("rtsp://cam:554/1?x=1", {**base, **environment}) == expected
    with pytest.raises(InputError, match="cannot read the password"):
        add_credentials("rtsp://cam/1", {**base, "EDGEPOSE_CAMERA_PASSWORD_FILE": str(tmp_path / "none")})
    with pytest.raises(InputError, match="EDGEPOSE_CAMERA_USER is not"):
        add_credentials("rtsp://cam/1", {"EDGEPOSE_CAMERA_PASSWORD": "secret"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("--source", "RTSP://me:secret@127.0.0.1:1/x", "--sink", "-"),
        ("--source", "rtmp://me:secret@127.0.0.1:1/x", "--sink", "-"),
        ("--source", "rtspp://me:secret@127.0.0.1:1/x", "--sink", "-"),
        ("--sorce", "rtsp://me:secret@127.0.0.1:1/x", "--sink", "-"),
        ("--sink", "mqtts://me:secret@127.0.0.1/x"),
        ("--sink", "MQTT://me:secret@127.0.0.1/x"),
        ("--sink", "htp://me:secret@127.0.0.1/x"),
        ("rtsp://me:secret@127.0.0.1:1/x",),
        ("--sink", "http://127.0.0.1:0?token=secret", "--privacy", "blur"),
        ("--sink", "http://127.0.0.1:0?tokne=secret", "--privacy", "blur"),
        ("--sink", "mqtt://127.0.0.1/x?pasword=secret"),
        ("--source", "rtsp://me:se'secret@127.0.0.1:1/x", "--sink", "-"),
    ],
)
def test_no_message_shows_a_password(arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    done = call_edgepose(capfd, "camera", *arguments)
    assert done.returncode == 2
    assert "secret" not in done.stdout + done.stderr


def test_statistics_are_written_without_unreadable_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("shutil.disk_usage", fail)
    monkeypatch.setattr(Path, "read_text", fail)
    with page() as sink:
        snapshot = sink._stats.take_snapshot()
        assert snapshot.memory_mb is None
        assert snapshot.disk_free_mb is None
        assert get(sink, "/").status == 200, "its files were read before"
        assert get(sink, "/metrics").status == 200
        assert json.loads(get(sink, "/healthz").body)["memory_mb"] is None
        with open_stream(sink, "/poses") as events:
            assert events.status == 200
    with pytest.raises(InputError):
        open_source(CameraConfig("rtsp://me:secret@127.0.0.1:1/x"))


def test_the_watchdog_works_without_free_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("edgepose.device.monitor.systemd.socket.socket", fail)
    SystemdNotifier({"NOTIFY_SOCKET": "@edgepose-test"}).notify_ready()


def test_counters_are_exact() -> None:
    """Regression test: after a million frames, counters increased in steps of ten, later of hundreds."""
    from prometheus_client.parser import text_string_to_metric_families

    stats = Stats("x")
    stats.processed = 12_345_678
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics.format_metrics(stats.take_snapshot()))
        for sample in family.samples
    }
    assert values["edgepose_frames_processed_total"] == 12_345_678
    assert values["edgepose_up"] == 0.0


def test_metrics_without_their_library_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[camera\]"):
        metrics.format_metrics(Stats("x").take_snapshot())
