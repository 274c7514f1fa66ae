"""The web page in a real browser: image, charts, login, keyboard, contrast, sizes of windows, frames."""

from __future__ import annotations

import http.server
import json
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgepose.device.camera.pipeline import PipelineResult
from edgepose.device.events.event import RuleState
from edgepose.device.monitor.stats import Stats
from edgepose.device.sinks.http_access import PageOptions

from .sink_helpers import make_event, make_message, wait_until
from .test_http_security import make_certificate
from .test_page import page

BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium is not installed (Debian: chromium chromium-driver)"),
]
TOKEN = "correct-horse-battery"
LIMIT_S = 60.0
"""A busy machine needs some seconds for what takes a moment."""


class Browser:
    """Chromium that shows the page of a sink, which gets new frames while the browser is waited for."""

    def __init__(self, downloads: Path) -> None:
        selenium = pytest.importorskip("selenium.webdriver")
        from selenium.webdriver.chrome.service import Service

        options = selenium.ChromeOptions()
        options.binary_location = BROWSER
        # The image stream never ends, so the page never finishes loading.
        options.page_load_strategy = "none"
        for argument in ("--headless=new", "--no-sandbox", "--ignore-certificate-errors"):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = selenium.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_script_timeout(30)
        self.driver.command_executor.client_config.timeout = 60

    def open(self, url: str, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.delete_all_cookies()
        self.driver.get("about:blank")
        wait_until(lambda: self.driver.current_url == "about:blank", LIMIT_S)
        self.driver.get_log("browser")
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def text(self, name: str) -> str:
        return str(self.run("const e = document.getElementById(arguments[0]); return e ? e.textContent : ''", name))

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def enter_frame(self) -> bool:
        """Switch to the frame of a dashboard; again after each load, because its page may have got another process."""
        self.driver.switch_to.default_content()
        self.driver.switch_to.frame(0)
        return True

    def get_script_errors(self) -> list[str]:
        errors = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [error for error in errors if "ERR_" not in error and "status of 401" not in error]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    shown = Browser(tmp_path_factory.mktemp("downloads"))
    try:
        yield shown
    finally:
        shown.driver.quit()


@pytest.fixture(scope="module")
def downloads(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshots")
    browser.driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    return folder


class Feed:
    """Sends frames to a sink until a condition is true."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._messages = [make_message(index, people=3) for index in range(0, 40, 8)]
        self._count = 0

    def __call__(self, condition: Callable[[], Any]) -> Any:
        def step() -> Any:
            message = self._messages[self._count % len(self._messages)]
            self._count += 1
            self._sink._stats.record_frame(PipelineResult(message.frame, message.estimate, 25.0))
            self._sink.send(message)
            return condition()

        return wait_until(step, LIMIT_S)


@contextmanager
def running_page(**options: Any) -> Iterator[tuple[Any, Feed]]:
    """Start a page with an hour of samples, of which two minutes are unknown."""
    with page(**{"device": "Front door", **options}) as sink:
        feed = Feed(sink)
        feed(lambda: sink._sample)
        sink._stats.state = "running"
        kept = sink._history
        for index in range(1799):
            gap = 900 < index < 960
            kept._samples[index] = (
                time.monotonic() - 3600 + 2 * index, 0 if gap else 30, math.nan if gap else 20 + index / 100,
                math.nan if gap else index // 300, 50 + index / 200,
            )  # fmt: skip
        kept._count = 1799
        yield sink, feed


PIXELS = """const i = document.getElementById('image'); if (!i || !i.naturalWidth) return null;
const c = document.createElement('canvas'); c.width = 64; c.height = 48; const p = c.getContext('2d');
p.drawImage(i, 0, 0, 64, 48); return Array.from(p.getImageData(0, 0, 64, 48).data);"""


def test_the_page_is_live_and_survives_a_restart_of_the_server(browser: Browser) -> None:
    """Skeletons move, texts are right, and no script fails."""
    with running_page() as (sink, feed):
        port = sink.port
        browser.open(f"http://127.0.0.1:{port}/")
        feed(lambda: browser.text("people") == "3" and browser.text("state") == "running")
        first = feed(lambda: browser.run(PIXELS))
        feed(lambda: browser.run(PIXELS) != first)
        assert browser.driver.title == browser.text("name") == "Front door"
        assert browser.text("model") == "small int8"
        assert browser.text("source") == "scene"
        assert browser.text("resolution") == "320 \N{MULTIPLICATION SIGN} 240"
        assert browser.text("latency") == "25ms"
        sink._stats.state, sink._stats.problem = "camera lost", "the cable is out"
        wait_until(lambda: browser.text("problem") == "the cable is out", LIMIT_S)
        assert browser.text("notice") == "Camera lost. This image is old."
    wait_until(lambda: browser.text("state") == "no connection", LIMIT_S)
    assert browser.text("notice") == "No connection. This image is old."
    from edgepose.device.sinks.http import HttpSink

    again = HttpSink("127.0.0.1", port, Stats("again"), "none")
    again._stats.state = "running"
    again.start()
    try:
        feed_again = Feed(again)
        feed_again(lambda: browser.text("state") == "running" and browser.text("model") == "again")
        feed_again(lambda: again._clients == 2)
        assert browser.text("notice") == ""
    finally:
        again.stop()
    assert not browser.get_script_errors()


def test_a_pause_is_no_fault_and_shows_no_old_image(browser: Browser) -> None:
    with running_page() as (sink, feed):
        browser.open(f"http://127.0.0.1:{sink.port}/")
        feed(lambda: browser.text("state") == "running" and browser.run(PIXELS))
        sink._stats.record_pause()
        for _ in range(2):
            wait_until(lambda: browser.text("state") == "paused", LIMIT_S)
            assert browser.text("notice") == "Paused"
            assert browser.text("people") == "-"
            assert browser.run("return document.getElementById('state').className") == "wait"
            style = browser.run("return getComputedStyle(document.getElementById('image')).visibility")
            assert style == "hidden"
            assert browser.run("return document.getElementById('snapshot').hidden")
            browser.driver.refresh()
            wait_until(lambda: browser.text("state"), LIMIT_S)
        wait_until(lambda: browser.text("state") == "paused", LIMIT_S)
        sink._stats.state = "starting"
        wait_until(lambda: browser.text("notice") == "Waiting for the first image", LIMIT_S)
        assert browser.run(PIXELS) is None, "the image from before the pause"
        sink._stats.state = "running"
        feed(lambda: browser.run(PIXELS))
        wait_until(lambda: browser.text("notice") == "", LIMIT_S)
        assert not browser.run("return document.getElementById('snapshot').hidden")
        assert not browser.get_script_errors()


CHARTS = """return Array.from(document.querySelectorAll('.chart')).map((chart) => {
  const canvas = chart.querySelector('canvas');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const color = getComputedStyle(chart).getPropertyValue('--color').trim();
  const rgb = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  const columns = new Set();
  for (let i = 0; i < pixels.length; i += 4) {
    const isCurve = pixels[i + 3] > 200 && rgb.every((value, j) => Math.abs(value - pixels[i + j]) < 12);
    if (isCurve) columns.add((i / 4) % canvas.width);
  }
  return {label: chart.querySelector('.plot').getAttribute('aria-label'), share: columns.size / canvas.width};
});"""
"""Label of each chart, and the share of its width that the curve covers."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_history_is_drawn(browser: Browser, scheme: str) -> None:
    from selenium.webdriver.common.keys import Keys

    with running_page() as (sink, feed):
        browser.open(f"http://127.0.0.1:{sink.port}/", scheme=scheme)
        feed(lambda: browser.run("return typeof samples === 'object' && samples.time.length > 1700"))
        feed(lambda: all(chart["share"] > 0.6 for chart in browser.run(CHARTS)))
        charts = browser.run(CHARTS)
        assert [chart["label"].partition(",")[0] for chart in charts] == ["People", "FPS", "Latency", "Temperature"]
        feed(lambda: "last 15 minutes: minimum 3, maximum 5, now 3" in browser.run(CHARTS)[0]["label"])
        browser.run("document.querySelector('#range :checked').focus()")
        browser.press(Keys.ARROW_RIGHT)
        feed(lambda: "last 60 minutes: minimum 0, maximum 5" in browser.run(CHARTS)[0]["label"])
        with_gap = browser.run(CHARTS)
        assert with_gap[2]["share"] < with_gap[1]["share"], "there is no latency while the camera is lost"
        last = browser.run("return samples.time.at(-1)")
        feed(lambda: browser.run("return samples.time.at(-1)") > last)
        assert browser.run("return samples.time.every((t, i) => !i || t > samples.time[i - 1])")
    assert not browser.get_script_errors()


def test_the_colors_follow_the_system(browser: Browser) -> None:
    with running_page() as (sink, feed):
        browser.open(f"http://127.0.0.1:{sink.port}/")
        feed(lambda: browser.run(CHARTS) and all(chart["share"] > 0.6 for chart in browser.run(CHARTS)))
        light = browser.run("return getComputedStyle(document.body).backgroundColor")
        media = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        feed(lambda: browser.run("return getComputedStyle(document.body).backgroundColor") != light)
        feed(lambda: all(chart["share"] > 0.6 for chart in browser.run(CHARTS)))


CONTRASTS = r"""const parse = (text) => [...text.match(/[\d.]+/g).map(Number), 1].slice(0, 4);
const linearize = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const weights = [0.2126, 0.7152, 0.0722];
const luminance = (color) => color.reduce((sum, value, i) => sum + weights[i] * linearize(value / 255), 0);
const found = [];
for (const e of document.querySelectorAll('body *')) {
  const nodes = Array.from(e.childNodes).filter((node) => node.nodeType === 3);
  const text = nodes.map((node) => node.textContent.trim()).join('');
  if (!text || !e.getClientRects().length || e.tagName === 'LEGEND') continue;
  const backs = [];
  for (let p = e; p; p = p.parentElement) backs.unshift(parse(getComputedStyle(p).backgroundColor));
  let back = [255, 255, 255];
  for (const [r, g, b, a] of backs) back = [r, g, b].map((v, i) => v * a + back[i] * (1 - a));
  const [low, high] = [parse(getComputedStyle(e).color).slice(0, 3), back].map(luminance).sort((x, y) => x - y);
  found.push([text, (high + 0.05) / (low + 0.05)]);
}
return found;"""
"""Each text with the contrast to its background."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(browser: Browser, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """WCAG 2, level AA: a contrast of 4.5."""
    with running_page() as (sink, feed):
        browser.open(f"http://127.0.0.1:{sink.port}/", scheme=scheme)
        with_rules(feed)
        sink.send(replace(feed._messages[0], events=(make_event("e0"),)))
        feed(
            lambda: browser.text("state") == "running" and browser.text("people") == "3" and browser.text("event-list")
        )
        contrasts = browser.run(CONTRASTS)
        sink._stats.state, sink._stats.problem = "camera lost", "the cable is out"
        wait_until(lambda: browser.text("problem"), LIMIT_S)
        contrasts += browser.run(CONTRASTS)
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    with page() as sink:
        browser.open(f"http://127.0.0.1:{sink.port}/", scheme=scheme)
        submit(browser, "wrong")
        wait_until(lambda: browser.text("error"), LIMIT_S)
        contrasts += browser.run(CONTRASTS)
    texts = {text for text, _ in contrasts}
    assert {
        "running",
        "camera lost",
        "the cable is out",
        "Snapshot",
        "Wrong token.",
        "Sign in",
        "Yard: 2",
        "Last events",
    } <= texts
    assert not [(text, ratio) for text, ratio in contrasts if ratio < 4.5]


def submit(browser: Browser, token: str) -> None:
    from selenium.webdriver.common.keys import Keys

    # The field has the focus: no click is needed.
    wait_until(lambda: browser.run("return document.activeElement && document.activeElement.id === 'token'"), LIMIT_S)
    browser.press(token, Keys.ENTER)


def test_the_login_with_the_keyboard(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    with running_page() as (sink, feed):
        url = f"http://127.0.0.1:{sink.port}/"
        browser.open(url)
        submit(browser, "wrong-token")
        wait_until(lambda: browser.text("error") == "Wrong token.", LIMIT_S)
        submit(browser, TOKEN)
        feed(lambda: browser.text("people") == "3")
        assert browser.driver.current_url == url
        [cookie] = browser.driver.get_cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert browser.run("return document.cookie") == ""
        assert browser.run("return localStorage.length + sessionStorage.length") == 0
    assert not browser.get_script_errors()


RULES = (
    RuleState("Yard", "zone", True, (1, 2), {"people": 2}, {}, ((10, 60), (150, 40), (150, 230), (20, 230))),
    RuleState("Door", "line", False, (), {"in": 3, "out": 1}, {}, ((160, 220), (160, 60), (170, 50))),
    RuleState("<b>Fall</b>", "fall", False, (), {}, {1: "lying", 9: "gone"}),
)
OVERLAY = """const box = document.getElementById('picture').getBoundingClientRect();
const shapes = document.getElementById('shapes'), scale = box.width / shapes.viewBox.baseVal.width;
const inside = (e) => {
  const b = e.getBoundingClientRect();
  return b.left >= box.left - 1 && b.right <= box.right + 1 && b.top >= box.top - 1 && b.bottom <= box.bottom + 1;
};
const zone = document.querySelector('#shapes .zone polygon').getBoundingClientRect();
const head = document.querySelector('#shapes .head').getBoundingClientRect();
const text = document.querySelector('#shapes text');
return {
  texts: Array.from(document.querySelectorAll('#shapes text')).map((e) => e.textContent),
  inside: Array.from(document.querySelectorAll('#shapes text')).every(inside),
  zone: [(zone.left - box.left) / scale, (zone.top - box.top) / scale, (zone.right - box.left) / scale],
  fills: Array.from(document.querySelectorAll('#shapes .zone polygon')).map((e) => getComputedStyle(e).fill),
  arrow: (head.left + head.right) / 2 - box.left > 160 * scale, height: text.getBoundingClientRect().height,
};"""


def with_rules(feed: Feed) -> None:
    feed._messages = [replace(message, rules=RULES) for message in feed._messages]


@pytest.mark.parametrize(("width", "scheme", "privacy"), [(1280, "light", "none"), (390, "dark", "silhouette")])
def test_rules_are_drawn_on_the_image(browser: Browser, width: int, scheme: str, privacy: str) -> None:
    with running_page(privacy=privacy) as (sink, feed):
        browser.open(f"http://127.0.0.1:{sink.port}/", width, 900, scheme)
        feed(lambda: browser.run(PIXELS) and browser.text("people") == "3")
        assert browser.run(
            "return document.getElementById('overlays').hidden && document.getElementById('events').hidden"
        )
        with_rules(feed)
        feed(lambda: browser.run("return document.querySelectorAll('#people-labels text').length"))
        drawn = browser.run(OVERLAY)
        assert drawn["texts"] == ["Yard: 2", "Door: in 3, out 1", "lying"]
        assert drawn["zone"] == pytest.approx([10, 40, 150], abs=1.5)
        assert (drawn["inside"], drawn["arrow"]) == (True, True)
        assert drawn["fills"] == ["rgba(255, 200, 87, 0.3)"], "somebody is in the zone"
        assert 12 < drawn["height"] < 30, "as large as other text, at any size of the frame"
        assert browser.text("rules") == "Yard2 peopleDoorin 3, out 1<b>Fall</b>lying, gone"
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        shapes = "return getComputedStyle(document.getElementById('shapes')).display"
        browser.run("document.getElementById('overlays').focus()")
        browser.press(" ")
        feed(lambda: browser.run(shapes) == "none")
        assert browser.run("return document.getElementById('overlays').getAttribute('aria-pressed')") == "false"
        browser.press(" ")
        feed(lambda: browser.run(shapes) != "none")
        sink._stats.record_pause()
        wait_until(lambda: browser.run(shapes) == "none", LIMIT_S)
        sink._stats.state = "running"
        feed(lambda: browser.run(shapes) != "none" and browser.run(OVERLAY)["texts"] == drawn["texts"])
    assert not browser.get_script_errors()


def test_the_last_events_are_listed(browser: Browser) -> None:
    with running_page() as (sink, feed):
        with_rules(feed)
        for number in range(60):
            event = make_event(f"e{number}", person=number + 1)
            sink.send(replace(feed._messages[0], events=(event,), capture_time="2026-11-30T17:00:01.000Z"))
        browser.open(f"http://127.0.0.1:{sink.port}/")
        items = "return Array.from(document.querySelectorAll('#event-list li')).map((e) => e.innerText)"
        feed(lambda: len(browser.run(items)) == 50)
        assert "person 60" in browser.run(items)[0]
        crossing = make_event("x", event="cross", state="once", direction="in", rule="<i>Door</i>", count=7, person=0)
        sink.send(replace(feed._messages[0], events=(crossing,)))
        feed(lambda: "Door" in browser.run(items)[0])
        assert browser.run(items)[0].split("\n") == ["-", "<i>Door</i> cross in", "count 7"]
        assert len(browser.run(items)) == 50
        browser.run("document.getElementById('event-list').focus()")
        assert browser.run("return document.activeElement.id") == "event-list", "it can be scrolled with the keyboard"
        assert (
            browser.run("return document.getElementById('event-list').ariaLabelledByElements[0].textContent")
            == "Last events"
        )
    assert not browser.get_script_errors()


def test_everything_is_reached_with_the_keyboard(browser: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    with running_page() as (sink, feed):
        browser.open(f"http://127.0.0.1:{sink.port}/")
        with_rules(feed)
        feed(lambda: browser.text("people") == "3" and browser.text("rules"))
        sink.send(replace(feed._messages[0], events=(make_event("e0"),)))
        feed(lambda: browser.text("event-list"))
        seen = []
        for _ in range(5):
            browser.press(Keys.TAB)
            seen.append(browser.run("const e = document.activeElement; return e.id || e.name"))
            shown = (
                "const e = document.activeElement, drawn = e.name ? e.nextElementSibling : e; "
                "return parseFloat(getComputedStyle(drawn).outlineWidth)"
            )
            assert browser.run(shown) >= 2, "the focus is visible"
        assert seen == ["overlays", "snapshot", "fullscreen", "event-list", "range"]
        unnamed = (
            "return Array.from(document.querySelectorAll('a, button, input, img, [role=img]')).filter((e) => "
            "!(e.textContent.trim() || e.alt || e.ariaLabel || (e.labels && e.labels.length))).map((e) => e.outerHTML)"
        )
        assert browser.run(unnamed) == []


def test_snapshot_and_full_screen(browser: Browser, downloads: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    with running_page() as (sink, feed):
        browser.open(f"http://127.0.0.1:{sink.port}/")
        feed(lambda: browser.text("people") == "3" and browser.run(PIXELS))
        browser.run("document.getElementById('snapshot').focus()")
        browser.press(Keys.ENTER)
        [path] = feed(lambda: [file for file in downloads.iterdir() if file.suffix == ".jpg"])
        assert path.name.startswith("Front door 20")
        assert path.read_bytes().startswith(b"\xff\xd8")
        browser.run("document.getElementById('fullscreen').focus()")
        browser.press(Keys.ENTER)
        feed(lambda: "Exit" in browser.text("fullscreen"))
        assert browser.run("return document.fullscreenElement.id") == "camera"
        picture = browser.run("return document.getElementById('picture').getBoundingClientRect().height / innerHeight")
        assert 0.8 < picture < 1
        browser.press(Keys.ENTER)
        feed(lambda: "Exit" not in browser.text("fullscreen"))
    assert not browser.get_script_errors()


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2560])
def test_the_page_fits_the_window(browser: Browser, width: int) -> None:
    name = "Warehouse entrance north, second camera above loading ramp seven"
    with running_page(device=name) as (sink, feed):
        sink._stats.problem = "rtsp://10.0.0.9:554/" + "a-very-long-path/" * 8 + ": connection refused"
        browser.open(f"http://127.0.0.1:{sink.port}/", width, 800)
        feed(lambda: browser.text("people") == "3" and browser.text("problem"))
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        wide = (
            "return Array.from(document.querySelectorAll('.chart canvas')).map((e) => e.getBoundingClientRect().right)"
        )
        feed(lambda: all(right <= width for right in browser.run(wide)))
        small = (
            "return Array.from(document.querySelectorAll('.button')).filter((e) => !e.hidden && "
            "e.getBoundingClientRect().height < 44).length"
        )
        assert browser.run(small) == 0, "a finger needs 44 pixels"


class Dashboard(http.server.BaseHTTPRequestHandler):
    """Page of another site with a frame."""

    def __init__(self, url: str, *arguments: Any) -> None:
        self._url = url
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f"<title>dashboard</title><iframe src='{self._url}' width=800 height=600></iframe>".encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_dashboard(address: list[str]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0),
        lambda *arguments: Dashboard(address[0], *arguments),  # type: ignore[arg-type]
    )
    serving = threading.Thread(target=partial(server.serve_forever, 0.05))
    serving.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize("allowed", [True, False])
def test_a_dashboard_shows_the_page_only_if_it_is_allowed(browser: Browser, allowed: bool) -> None:
    address = [""]
    with serve_dashboard(address) as dashboard:
        ancestors = (dashboard,) if allowed else ("http://homeassistant.local:8123",)
        with running_page(options=PageOptions(frame_ancestors=ancestors)) as (sink, feed):
            address[0] = f"http://127.0.0.1:{sink.port}/"
            browser.open(dashboard)
            wait_until(lambda: browser.driver.title == "dashboard", LIMIT_S)
            if not allowed:
                wait_until(
                    lambda: any("frame-ancestors" in entry["message"] for entry in browser.driver.get_log("browser")),
                    LIMIT_S,
                )
                assert sink._clients == 0
                return
            feed(lambda: browser.enter_frame() and browser.text("people") == "3" and browser.run(PIXELS))
            browser.driver.switch_to.default_content()


def test_the_login_in_a_dashboard_over_http_says_what_to_do(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Browsers keep no cookie for a frame of another site without HTTPS."""
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    address = [""]
    with serve_dashboard(address) as dashboard, page(options=PageOptions(frame_ancestors=(dashboard,))) as sink:
        address[0] = f"http://127.0.0.1:{sink.port}/"
        browser.open(dashboard)
        wait_until(lambda: browser.driver.title == "dashboard", LIMIT_S)
        has_form = "return !!document.getElementById('token')"
        wait_until(lambda: browser.enter_frame() and browser.run(has_form), LIMIT_S)
        browser.run("document.getElementById('token').focus()")
        submit(browser, TOKEN)
        wait_until(lambda: browser.enter_frame() and "did not store the cookie" in browser.text("error"), LIMIT_S)
        browser.driver.switch_to.default_content()


def test_the_login_in_a_dashboard_over_https(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cookie is kept for this dashboard only: a frame on another site is not logged in."""
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", TOKEN)
    cert, key = map(str, make_certificate(tmp_path))
    address = [""]
    with serve_dashboard(address) as dashboard:
        options = PageOptions(certificate=cert, key=key, frame_ancestors=(dashboard,))
        with running_page(options=options) as (sink, feed):
            address[0] = f"https://127.0.0.1:{sink.port}/"
            browser.open(dashboard)
            wait_until(lambda: browser.driver.title == "dashboard", LIMIT_S)
            wait_until(
                lambda: browser.enter_frame() and browser.run("return !!document.getElementById('token')"), LIMIT_S
            )
            browser.run("document.getElementById('token').focus()")
            submit(browser, TOKEN)
            feed(lambda: browser.enter_frame() and browser.text("people") == "3" and browser.run(PIXELS))
            browser.driver.switch_to.default_content()
            cookies = browser.driver.execute_cdp_cmd("Network.getAllCookies", {})["cookies"]
            [cookie] = [cookie for cookie in cookies if cookie["name"] == "token"]
            assert (cookie["sameSite"], cookie["secure"], cookie["httpOnly"]) == ("None", True, True)
            assert "localhost" in json.dumps(cookie["partitionKey"])
            browser.open(address[0])
            wait_until(lambda: browser.run("return !!document.getElementById('token')"), LIMIT_S)
