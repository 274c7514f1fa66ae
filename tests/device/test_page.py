"""The web page: content, machine-readable paths, access, and a test in a real browser."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from edgepose.device.config import CameraConfig
from edgepose.device.events.event import RuleState
from edgepose.device.monitor.stats import Stats
from edgepose.device.sinks import http as http_sink
from edgepose.device.sinks.factory import open_sinks
from edgepose.device.sources.factory import open_source
from edgepose.runtime.errors import InputError

from .sink_helpers import make_event_message, make_message, wait_until

pytestmark = pytest.mark.once


@contextmanager
def page(privacy: str = "none", host: str = "127.0.0.1", **options: Any) -> Iterator[Any]:
    pytest.importorskip("aiohttp")
    from edgepose.device.sinks.http import HttpSink

    stats = Stats("small int8")
    sink = HttpSink(host, 0, stats, privacy, **options)  # type: ignore[arg-type]
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()


class Answer(NamedTuple):
    status: int
    headers: Any
    body: bytes


@contextmanager
def open_stream(sink: Any, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """Send a request and yield the answer, which may be an endless stream."""
    link = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5)
    try:
        link.request("GET", path, headers=headers)
        with link.getresponse() as answer:
            yield answer
    finally:
        link.close()


def log_in(sink: Any, form: str, path: str = "/login", **headers: str) -> Answer:
    """Send the login form."""
    link = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5)
    try:
        link.request("POST", path, form, {"Content-Type": "application/x-www-form-urlencoded", **headers})
        with link.getresponse() as answer:
            return Answer(answer.status, answer.headers, answer.read())
    finally:
        link.close()


def get(sink: Any, path: str, **headers: str) -> Answer:
    with open_stream(sink, path, **headers) as answer:
        endless = answer.status == 200 and path in ("/poses", "/stream.mjpg")
        return Answer(answer.status, answer.headers, b"" if endless else answer.read())


def test_the_page_and_its_machine_readable_paths() -> None:
    with page() as sink:
        assert get(sink, "/snapshot.jpg").status == 503
        sink.send(make_message())
        answer = get(sink, "/")
        assert answer.status == 200
        assert b"page.js" in answer.body
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        image = cv2.imdecode(np.frombuffer(get(sink, "/snapshot.jpg").body, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (240, 320, 3)
        assert b"# TYPE edgepose_fps gauge" in get(sink, "/metrics").body
        health = get(sink, "/healthz")
        assert health.status == 503, "the loop has not begun"
        assert json.loads(health.body)["state"] == "starting"
        sink._stats.state = "running"
        assert get(sink, "/healthz").status == 200
        assert get(sink, "/nothing").status == 404
        assert get(sink, "/" + "x" * 10_000).status in (400, 414)


def test_poses_come_as_events_and_the_image_as_a_stream() -> None:
    with page() as sink, open_stream(sink, "/poses") as events, open_stream(sink, "/stream.mjpg") as stream:
        wait_until(lambda: sink._clients == 2)
        sink.send(make_message(people=3))
        while not events.readline().startswith(b"event: poses"):
            continue
        assert len(json.loads(events.readline().removeprefix(b"data: "))["poses"]) == 3
        assert stream.readline() == b"--frame\r\n"


def test_events_and_rules_are_served() -> None:
    state = RuleState("yard", "zone", True, (1,), {"people": 1}, {1: "x"}, ((1.04, 2), (9, 2), (9, 9)))
    with page() as sink:
        assert json.loads(get(sink, "/events").body) == []
        assert json.loads(get(sink, "/rules").body) == {"width": 0, "height": 0, "rules": {}}
        for number in range(150):
            sink.send(make_event_message(f"e{number}", rules=(state,)))
        events = json.loads(get(sink, "/events").body)
        assert [event["id"] for event in events] == [f"e{number}" for number in range(149, 49, -1)]
        assert "pose" not in events[0]
        rules = json.loads(get(sink, "/rules").body)
        assert (rules["width"], rules["height"]) == (320, 240)
        assert rules["rules"]["yard"] == {
            "kind": "zone", "active": True, "people": [1], "counts": {"people": 1}, "labels": {"1": "x"},
            "shape": [[1.0, 2], [9, 2], [9, 9]],
        }  # fmt: skip
        metrics = get(sink, "/metrics").body.decode()
        assert 'edgepose_events_total{rule="yard",type="enter"} 150.0' in metrics
        assert 'edgepose_rule_active{rule="yard"} 1.0' in metrics
        assert 'edgepose_rule_count{count="people",rule="yard"} 1.0' in metrics
        with open_stream(sink, "/poses") as stream:
            wait_until(lambda: sink._clients == 1)
            sink.send(make_event_message("new", rules=(state,)))
            kinds = []
            while "event" not in kinds:
                line = stream.readline().decode()
                if line.startswith("event: "):
                    kinds.append(line.split()[1])
            assert json.loads(stream.readline().decode().removeprefix("data: "))["id"] == "new"
            assert kinds.index("rules") < kinds.index("poses")


def test_an_image_from_before_a_pause_is_not_served() -> None:
    with page() as sink:
        sink._stats.state = "running"
        sink.send(make_message())
        assert get(sink, "/snapshot.jpg").status == 200
        sink._stats.record_pause()
        paused = get(sink, "/snapshot.jpg")
        assert (paused.status, paused.body) == (503, b"paused")
        assert get(sink, "/healthz").status == 200
        with open_stream(sink, "/poses") as stream:
            assert stream.readline() == b"event: stats\n"
        sink._stats.state = "starting"
        assert get(sink, "/snapshot.jpg").body == b"no frame yet"
        sink.send(make_message(1))
        assert get(sink, "/snapshot.jpg").status == 200


def test_a_client_that_leaves_before_the_stream_begins_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A browser that reloads the page closes streams that it has just requested."""
    from aiohttp import web

    async def lose_connection(response: web.StreamResponse, request: web.BaseRequest) -> None:
        raise ConnectionResetError("closed")

    with page() as sink, pytest.MonkeyPatch.context() as patch:
        patch.setattr(web.StreamResponse, "prepare", lose_connection)
        with pytest.raises((http.client.HTTPException, OSError)), open_stream(sink, "/stream.mjpg"):
            pass
        assert sink._clients == 0
    assert not caplog.records


def test_the_stream_is_a_network_camera() -> None:
    """The page of one loop is the source of another. If the page ends, the camera is lost."""
    with page() as sink:
        sink.send(make_message())
        stop = threading.Event()

        def feed() -> None:
            for index in itertools.count():
                if stop.wait(0.02):
                    return
                sink.send(make_message(index % 5))

        feeding = threading.Thread(target=feed)
        feeding.start()
        try:
            camera = open_source(CameraConfig(f"http://me:secret@127.0.0.1:{sink.port}/stream.mjpg"))
            frames = camera.frames()
            seen = [next(frames) for _ in range(5)]
        finally:
            stop.set()
            feeding.join()
    assert seen[0].image.shape == (240, 320, 3)
    assert seen[0].image.std() > 10
    assert camera.live
    with pytest.raises(InputError, match="the camera stopped delivering frames") as error:
        for _ in range(100):
            next(frames)
    assert "secret" not in str(error.value)
    camera.close()
    with pytest.raises(InputError, match="connection refused: no server listens"):
        open_source(CameraConfig("rtsp://127.0.0.1:1/x"))


def test_host_names_of_other_sites_are_refused_on_loopback() -> None:
    with page() as sink:
        assert get(sink, "/", Host="evil.example").status == 403
        assert get(sink, "/", Host=f"localhost:{sink.port}").status == 200


def test_access_requires_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(InputError, match="can be reached by others"), page(host="0.0.0.0"):
        pass
    token = "correct-horse-battery"
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", token)
    with page(host="0.0.0.0") as sink:
        for path in (
            "/",
            "/history",
            "/events",
            "/rules",
            "/events.js",
            "/metrics",
            "/stream.mjpg",
            "/poses",
            "/snapshot.jpg",
            "/healthz",
        ):
            assert get(sink, path).status == 401, path
        assert get(sink, f"/?token={token}").status == 401, "addresses are stored in histories and logs"
        assert get(sink, "/metrics", Authorization=f"Bearer {token}").status == 200
        welcome = log_in(sink, f"token={token}")
        assert (welcome.status, welcome.headers["Location"]) == (303, "/?signed-in")
        cookie = welcome.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert get(sink, "/metrics", Cookie=cookie.partition(";")[0]).status == 200
    monkeypatch.delenv("EDGEPOSE_HTTP_TOKEN")
    with page(host="0.0.0.0", insecure=True) as sink:
        assert get(sink, "/metrics").status == 200


def test_a_browser_gets_a_login_form_and_other_programs_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "correct&horse=battery+ü%"
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", token)
    browser = {"Accept": "text/html,*/*"}
    with page(device="Front door") as sink:
        for path in ("/", "/nothing", "/snapshot.jpg"):
            form = get(sink, path, **browser)
            assert form.status == 401
            assert b'action="/login"' in form.body
            assert b"Wrong token" not in form.body
            assert b"Front door" not in form.body
        text = get(sink, "/").body
        assert b"<" not in text
        assert text.count(b"\n") == 1
        for path in ("/base.css", "/icon.svg"):
            assert get(sink, path).status == 200, "the form needs it"
        refused = log_in(sink, "token=wrong", **browser)
        assert refused.status == 401
        assert b"Wrong token." in refused.body
        assert "Set-Cookie" not in refused.headers
        welcome = log_in(sink, f"username=x&token={quote(token)}", **browser)
        assert welcome.status == 303
        cookie = welcome.headers["Set-Cookie"].partition(";")[0]
        assert get(sink, "/", Cookie=cookie, **browser).status == 200
        assert get(sink, "/login", Cookie=cookie, **browser).headers["Location"] == "/"
        assert b64encode(token.encode()) not in b"".join((form.body, refused.body, welcome.body))
        assert b"did not store the cookie" in get(sink, "/?signed-in", **browser).body
        basic = b64encode(f"me:{token}".encode()).decode()
        assert get(sink, "/snapshot.jpg", Authorization=f"Basic {basic}").status == 503, "no frame yet"


def test_uplot_is_the_published_file() -> None:
    folder = Path(http_sink.__file__).parent / "page" / "uplot"
    listed = re.findall(r"(uplot\.min\.\w+) +SHA-256 (\w{64})", (folder / "NOTICE").read_text())
    assert {name: sha256((folder / name).read_bytes()).hexdigest() for name, _ in listed} == dict(listed)
    assert len(listed) == 2


def test_the_title_is_the_name_of_the_device() -> None:
    with page(device="<b>Küche & Bad</b> $name") as sink:
        body = get(sink, "/").body.decode()
    title = "&lt;b&gt;Küche &amp; Bad&lt;/b&gt; $name"
    assert f"<title>{title}</title>" in body
    assert f">{title}</h1>" in body


def test_the_history_is_served_and_continued() -> None:
    with page() as sink, open_stream(sink, "/poses") as events:
        sink._stats.state = "running"
        first = json.loads(get(sink, "/history").body)
        assert list(first) == ["time", "fps", "latency_ms", "people", "temperature_c"]
        assert len(first["time"]) == 1
        while not events.readline().startswith(b"event: sample"):
            continue
        sample = json.loads(events.readline().removeprefix(b"data: "))
        history = json.loads(get(sink, "/history").body)
        assert len(history["time"]) >= 2
        assert sample["time"][0] - first["time"][0] > 1
        assert abs(sample["time"][0] - history["time"][1]) < 0.2
        assert abs(time.time() - sample["time"][0]) < 60


def test_the_number_of_streams_is_limited() -> None:
    with page() as sink:
        with ExitStack() as stack:
            watching = [stack.enter_context(open_stream(sink, "/poses")) for _ in range(8)]
            assert all(answer.status == 200 for answer in watching)
            assert get(sink, "/poses").status == 503

        def empty() -> bool:
            sink.send(make_message())
            return not sink._clients

        wait_until(empty)
        assert get(sink, "/poses").status == 200


def test_a_port_in_use_is_one_line() -> None:
    pytest.importorskip("aiohttp")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (sink,) = open_sinks([f"http://127.0.0.1:{other.getsockname()[1]}"], Stats("x"), "blur")
        with pytest.raises(InputError, match="in use"):
            sink.start()
