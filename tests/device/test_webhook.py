"""Webhook sink with real HTTP servers: signature, order, retries, bounds, restarts, TLS, the end of the process."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgepose.device.events.event import RuleInfo
from edgepose.device.monitor.stats import Stats
from edgepose.device.sinks import webhook
from edgepose.device.sinks.base import Sink, stop_all
from edgepose.device.sinks.factory import open_sinks
from edgepose.device.sinks.webhook_queue import EventQueue, QueueLimits
from edgepose.device.sinks.webhook_request import Target, _parse_retry_after, parse_secret, post_event
from edgepose.runtime.errors import InputError, OutputError

from .mqtt_helpers import end_with_the_test_process
from .sink_helpers import make_event_message, make_message, wait_until

pytestmark = pytest.mark.once
RULES = (RuleInfo("yard", "zone", ("enter", "leave"), has_duration=True, counts=("people",)),)
SECRET = "a long enough secret"


class Receiver:
    """HTTP server that remembers its requests and answers as told."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[int], tuple[int, dict[str, str]]] = lambda number: (204, {})
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, headers = receiver.answer(len(receiver.requests))
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def list_ids(self) -> list[str]:
        return [headers["webhook-id"] for _, headers, _ in self.requests]

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_FIRST_DELAY_S", 0.02)
    monkeypatch.setattr(webhook, "_MAX_DELAY_S", 0.1)


@contextmanager
def run_sink(address: str) -> Iterator[Sink]:
    (sink,) = open_sinks([f"webhook:{address}"], Stats("x"), None, rules=RULES)
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()


def get_count(sink: Sink, name: str) -> int:
    return int(sink.get_counts()[name])


def test_an_event_is_posted_and_can_be_verified(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_WEBHOOK_SECRET", SECRET)
    with run_sink(f"http://127.0.0.1:{receiver.port}/hook/x?token=abc") as sink:
        sink.send(make_message())
        sink.send(make_event_message("e0"))
        wait_until(lambda: get_count(sink, "sent") == 1)
    [(path, headers, body)] = receiver.requests
    assert path == "/hook/x?token=abc"
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["event"] == "enter"
    assert headers["webhook-id"] == "e0-started"
    # As in docs/reference/output.md.
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(SECRET.encode(), content, hashlib.sha256)).decode()
    assert hmac.compare_digest(headers["webhook-signature"], expected)
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 300


def test_the_published_example_of_standard_webhooks() -> None:
    """From its specification."""
    from edgepose.device.sinks.webhook_request import sign

    key = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("short\n")
    with (
        pytest.raises(InputError, match="expected a secret of 16 bytes or more, got 5"),
        run_sink(f"https://example.org/x#secret={tmp_path}/secret"),
    ):
        pass
    monkeypatch.setenv("EDGEPOSE_WEBHOOK_SECRET", "whsec_!!")
    with (
        pytest.raises(InputError, match="EDGEPOSE_WEBHOOK_SECRET: expected Base64 after whsec_"),
        run_sink("https://example.org/x"),
    ):
        pass


def test_events_are_delivered_in_order_after_failures(receiver: Receiver) -> None:
    receiver.answer = lambda number: (500 if number < 4 else 429 if number == 6 else 200, {})
    with run_sink(f"http://127.0.0.1:{receiver.port}/") as sink:
        for number in range(5):
            sink.send(make_event_message(f"e{number}"))
        wait_until(lambda: get_count(sink, "sent") == 5)
        assert sink.get_counts()["problem"] == ""
    ids = receiver.list_ids()
    assert list(dict.fromkeys(ids)) == [f"e{number}-started" for number in range(5)]
    assert len(ids) == 9
    assert ids[:4] == ["e0-started"] * 4, "the same id for each attempt"


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_a_refused_event_is_dropped(receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture) -> None:
    receiver.answer = lambda number: (status if number == 1 else 200, {})
    with run_sink(f"http://127.0.0.1:{receiver.port}/hidden") as sink:
        sink.send(make_event_message("e0"))
        sink.send(make_event_message("e1"))
        wait_until(lambda: get_count(sink, "sent") == 1)
        assert get_count(sink, "lost_events") == 1
    assert receiver.list_ids() == ["e0-started", "e1-started"]
    assert f"answers with status {status}; the event is dropped" in caplog.text
    assert "hidden" not in caplog.text


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    other = Receiver()
    receiver.answer = lambda number: (307, {"Location": f"http://127.0.0.1:{other.port}/"})
    with run_sink(f"http://127.0.0.1:{receiver.port}/") as sink:
        sink.send(make_event_message("e0"))
        wait_until(lambda: len(receiver.requests) > 2)
        assert "redirect (307), which is not followed" in str(sink.get_counts()["problem"])
    assert other.requests == []
    other.close()


def test_a_receiver_that_asks_to_wait_is_obeyed(receiver: Receiver) -> None:
    receiver.answer = lambda number: (503, {"Retry-After": "3000"})
    with run_sink(f"http://127.0.0.1:{receiver.port}/") as sink:
        sink.send(make_event_message("e0"))
        wait_until(lambda: sink.get_counts()["problem"])
        time.sleep(0.5)
        assert len(receiver.requests) == 1
        assert stop_all([sink]) == []
    in_an_hour = email.utils.formatdate(time.time() + 1800, usegmt=True)
    assert 1700 < (_parse_retry_after(in_an_hour) or 0) <= 1800
    texts = (
        "", "soon", "-1", "9" * 5000, "Mon, 99 Foo 2020", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999999",
    )  # fmt: skip
    assert [_parse_retry_after(text) for text in texts] == [None, None, None, 3600.0, None, None, None]


def test_a_receiver_that_fails_for_an_hour_costs_only_the_bound(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda number: (500, {})
    with run_sink(f"http://127.0.0.1:{receiver.port}/#events=20&folder={tmp_path}/q") as sink:
        for number in range(200):
            sink.send(make_event_message(f"e{number}"))
            wait_until(lambda: len(sink._queue) < 10)
        wait_until(lambda: get_count(sink, "lost_events") >= 180)
        assert get_count(sink, "queued") == 20
        assert len(list((tmp_path / "q").glob("*.json"))) == 20
        receiver.answer = lambda number: (200, {})
        wait_until(lambda: get_count(sink, "queued") == 0)
        assert receiver.list_ids()[-20:] == [f"e{number}-started" for number in range(180, 200)]
    assert list((tmp_path / "q").glob("*.json")) == []
    assert caplog.text.count("answers with status 500") == 1
    assert caplog.text.count("working again") == 1


def test_the_queue_survives_a_kill(receiver: Receiver, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from edgepose.device.sinks.factory import open_sinks\n"
        "from edgepose.device.monitor.stats import Stats\n"
        "from tests.device.sink_helpers import make_event_message\n"
        "from tests.device.test_webhook import RULES\n"
        "import time\n"
        "[sink] = open_sinks([sys.argv[1]], Stats('x'), None, rules=RULES)\n"
        "sink.start()\n"
        "for number in range(5): sink.send(make_event_message(f'e{number}'))\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parent.parent.parent
    address = f"http://127.0.0.1:{receiver.port}/#folder={tmp_path}/q"
    receiver.answer = lambda number: (503, {"Retry-After": "600"})
    child = subprocess.Popen(
        [sys.executable, "-c", code, f"webhook:{address}", str(root)], preexec_fn=end_with_the_test_process
    )
    try:
        wait_until(lambda: len(list((tmp_path / "q").glob("*.json"))) == 5)
        with pytest.raises(OutputError, match="another sink or process"), run_sink(address):
            pass
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    (tmp_path / "q" / "000000000002.json").write_text('{"id":')
    (tmp_path / "q" / "000000000009.part").write_text("half")
    receiver.answer = lambda number: (200, {})
    receiver.requests.clear()
    with run_sink(address) as sink:
        sink.send(make_event_message("e5"))
        wait_until(lambda: get_count(sink, "sent") == 5)
    assert receiver.list_ids() == [f"e{number}-started" for number in (0, 2, 3, 4, 5)]
    assert [path.name for path in (tmp_path / "q").iterdir()] == ["lock"]


def test_old_and_large_events_are_dropped(tmp_path: Path) -> None:
    queue = EventQueue(tmp_path, QueueLimits(size_bytes=100))
    queue.open()
    for number in range(5):
        queue.append(str(number), b"x" * 40)
    assert (len(queue), queue.dropped) == (2, 3)
    assert len(list(tmp_path.glob("*.json"))) == 2
    queue.close()
    for path in tmp_path.glob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "created": time.time() - 7200}))
    queue = EventQueue(tmp_path, QueueLimits(age_s=3600))
    queue.open()
    assert (len(queue), queue.dropped) == (0, 2)
    assert list(tmp_path.glob("*.json")) == []
    queue.close()


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "a\r\nX-Other: 1", "created": 1e12},
        {"id": "\u20ac", "created": 1e12},
        {"id": "e0", "created": 10**400},
    ],
)
def test_a_stored_file_that_is_wrong_does_not_stop_the_delivery(
    receiver: Receiver, tmp_path: Path, entry: dict[str, Any]
) -> None:
    (tmp_path / "000000000001.json").write_text(json.dumps({**entry, "body": "{}"}))
    with run_sink(f"http://127.0.0.1:{receiver.port}/#folder={tmp_path}") as sink:
        sink.send(make_event_message("e1"))
        wait_until(lambda: get_count(sink, "sent") == 1)
    assert receiver.list_ids() == ["e1-started"]


def test_links_and_fifos_of_others_are_not_opened(receiver: Receiver, tmp_path: Path) -> None:
    folder, target = tmp_path / "q", tmp_path / "target"
    folder.mkdir()
    (folder / "lock").symlink_to(target)
    with pytest.raises(OutputError, match="cannot be used"):
        EventQueue(folder, QueueLimits()).open()
    assert not target.exists()
    (folder / "lock").unlink()
    with run_sink(f"http://127.0.0.1:{receiver.port}/#folder={folder}") as sink:
        os.mkfifo(folder / "000000000001.part")
        sink.send(make_event_message("e0"))
        wait_until(lambda: get_count(sink, "sent") == 1)
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_folder_with_too_many_events_is_not_read_whole(tmp_path: Path) -> None:
    for number in range(20):
        entry = {"id": "e", "created": time.time(), "body": "x" * 10}
        (tmp_path / f"{number:012d}.json").write_text(json.dumps(entry))
    sizes = []

    class Watched(EventQueue):
        def _apply_limits(self) -> None:
            sizes.append(len(self))
            super()._apply_limits()

    queue = Watched(tmp_path, QueueLimits(events=3))
    queue.open()
    assert (len(queue), max(sizes)) == (3, 4)
    queue.close()


def test_a_full_disk_keeps_events_in_memory(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("edgepose.device.sinks.webhook_queue.os.write", lambda handle, content: 3)
        receiver.answer = lambda number: (500 if number < 4 else 200, {})
        with run_sink(f"http://127.0.0.1:{receiver.port}/#folder={tmp_path}/q") as sink:
            sink.send(make_event_message("e0"))
            wait_until(lambda: get_count(sink, "sent") == 1)
            wait_until(lambda: "kept only in memory" in str(sink.get_counts()["problem"]))
    assert [path.name for path in (tmp_path / "q").iterdir()] == ["lock"]
    assert "No space left" in caplog.text


def test_the_folder_of_the_service_is_the_default(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    receiver.answer = lambda number: (500, {})
    with run_sink(f"http://127.0.0.1:{receiver.port}/#hours=1") as sink:
        sink.send(make_event_message("e0"))
        wait_until(lambda: list(tmp_path.glob("webhook/*/*.json")))
    with run_sink(f"http://127.0.0.1:{receiver.port}/#folder=") as sink:
        sink.send(make_event_message("e0"))
        wait_until(lambda: get_count(sink, "queued") == 1)
        sink.stop()
        assert get_count(sink, "lost_events") == 1, "it was only in memory"
    [folder] = (tmp_path / "webhook").iterdir()
    assert folder.stat().st_mode & 0o077 == 0


def test_the_certificate_is_verified(authority: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority / "broker.pem", authority / "broker.key")
    secure = Receiver(context)
    try:
        with run_sink(f"https://localhost:{secure.port}/#ca={authority}/ca.pem") as sink:
            sink.send(make_event_message("e0"))
            wait_until(lambda: get_count(sink, "sent") == 1)
        for options in ("", f"#ca={authority}/other.pem"):
            with run_sink(f"https://localhost:{secure.port}/{options}") as sink:
                sink.send(make_event_message("e0"))
                wait_until(lambda: "certificate is not trusted" in str(sink.get_counts()["problem"]))
        with run_sink(f"http://localhost:{secure.port}/") as sink:
            sink.send(make_event_message("e0"))
            wait_until(lambda: sink.get_counts()["problem"])
    finally:
        secure.close()
    assert len(secure.requests) == 1


@contextmanager
def serve_bytes(send: Callable[[socket.socket], object]) -> Iterator[int]:
    """Serve connections with a function, without HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(link,), daemon=True).start()

        def answer(link: socket.socket) -> None:
            with link:
                try:
                    link.recv(65536)
                    send(link)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def make_target(port: int, **options: Any) -> Target:
    return Target("127.0.0.1", port, "/", None, **options)


def drip(link: socket.socket) -> None:
    link.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000):
        link.sendall(b"x" if number % 9 else b"-: y\r\n")
        time.sleep(0.02)


def send_endless(link: socket.socket) -> None:
    link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
    while True:
        link.sendall(b"x" * 65536)


@pytest.mark.parametrize("rest", [b"Content-Length: 9\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nx\r\n"])
def test_an_event_that_was_accepted_is_not_repeated_because_of_the_rest_of_the_answer(rest: bytes) -> None:
    free = threading.Event()

    def hang(link: socket.socket) -> None:
        link.sendall(b"HTTP/1.1 200 OK\r\n" + rest)
        free.wait(60)

    with serve_bytes(hang) as port:
        assert post_event(make_target(port, timeout_s=2), "e0", b"{}").delivered
        free.set()


def test_answers_are_limited() -> None:
    with serve_bytes(drip) as port:
        start = time.monotonic()
        assert post_event(make_target(port, timeout_s=0.5), "e0", b"{}").problem
        assert time.monotonic() - start < 60, "the answer would take 200 s"
    with serve_bytes(send_endless) as port:
        assert post_event(make_target(port), "e0", b"{}").delivered
    for text in (
        b"",
        b"SSH-2.0\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
    ):
        with serve_bytes(lambda link, text=text: link.sendall(text)) as port:  # type: ignore[misc]
            outcome = post_event(make_target(port, timeout_s=20), "e0", b"{}")
            assert not outcome.delivered, text
            assert "\n" not in outcome.problem


def test_a_name_lookup_that_hangs_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def hang(*_: object, **__: object) -> None:
        free.wait(60)
        raise socket.gaierror(-3, "later")

    monkeypatch.setattr("http.client.socket.getaddrinfo", hang)
    (sink,) = open_sinks(["webhook:http://example.invalid/"], Stats("x"), None, rules=RULES)
    sink.start()
    sink.send(make_event_message("e0"))
    wait_until(lambda: get_count(sink, "queued") == 1)
    start = time.monotonic()
    assert stop_all([sink], 30) == []
    assert time.monotonic() - start < 20
    free.set()
