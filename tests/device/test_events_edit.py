"""The editor for zones and lines: access to its page, the configuration file, and the page in a real browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from edgepose.device import config
from edgepose.device.cli import events_edit
from edgepose.device.editor.config_file import ConfigFile
from edgepose.device.editor.server import EditorServer
from edgepose.device.editor.shapes import Drawing, Shape, Tables, format_tables
from edgepose.device.editor.snapshot import take_snapshot
from edgepose.runtime.errors import InputError
from edgepose.runtime.synthetic import Scene

from ..conftest import HANG_S, call_edgepose
from .sink_helpers import wait_until
from .test_page import page
from .test_page_browser import BROWSER, DRIVER, Browser

pytestmark = pytest.mark.once
WIDTH, HEIGHT = 640, 480
SQUARE = ((0.1, 0.2), (0.5, 0.2), (0.5, 0.8))
FILE = """\
# The camera at the door.
[camera]
source = "v4l2:0"   # the USB camera

[[events.zone]]
name = "bed"        # never a fall here
cooldown_s = 5      # seconds
polygon = [
    [0.1, 0.1],     # head
    [0.4, 0.1],
    [0.4, 0.5],
]

[[events.zone]]
name = "yard"
polygon = [[64, 48], [320, 48], [320, 240]]
"""


class Editor:
    """A running server of the editor."""

    def __init__(self, server: EditorServer) -> None:
        self.addresses: list[str] = []
        self.results: list[str] = []
        self.thread = threading.Thread(target=lambda: self.results.append(server.run(self.addresses.append)))
        self.thread.start()
        wait_until(lambda: self.addresses)
        self.address = self.addresses[0]
        self.path = urlsplit(self.address).path

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=HANG_S)
        try:
            encoded = None if body is None else json.dumps(body) if not isinstance(body, str) else body
            kind = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, encoded, {**kind, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, name: str, *shapes: dict[str, Any]) -> dict[str, Any]:
        status, content = self.request("POST", f"{self.path}{name}", {"shapes": list(shapes)})
        assert status == 200, content
        return dict(json.loads(content))

    def finish(self) -> str:
        self.thread.join(HANG_S)
        return self.results[0]

    def end(self) -> None:
        """End the server, in whatever state a test has left it."""
        with contextlib.suppress(OSError):
            self.request("POST", f"{self.path}done", {"shapes": []})
        self.thread.join(HANG_S)


def make_shape(name: str = "door", points: Any = SQUARE, **values: Any) -> dict[str, Any]:
    return {"kind": "zone", "name": name, "points": points, "settings": {}, "origin": None, **values}


@contextmanager
def running_editor(file: Path | None = None) -> Iterator[Editor]:
    image = Scene(2, WIDTH, HEIGHT).render_frame(0).image
    pytest.importorskip("aiohttp")
    editor = Editor(EditorServer(image, "scene", None if file is None else ConfigFile(file), "127.0.0.1", 0))
    try:
        yield editor
    finally:
        if file is not None and editor.thread.is_alive():
            file.write_text(FILE)  # what the editor has read
        editor.end()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pytest.importorskip("tomlkit")
    path = tmp_path / "camera.toml"
    path.write_text(FILE)
    return path


def test_only_the_printed_address_is_answered() -> None:
    """Without the token, for other hosts, and from pages of other sites, there is nothing to see."""
    with running_editor() as editor:
        assert editor.request("GET", f"{editor.path}state")[0] == 200
        for path in ("/", "/state", "/image.jpg", f"{editor.path[:-2]}/state", "//", f"{editor.path}../state", ""):
            assert editor.request("GET", path or "/")[0] == 404, path
        assert editor.request("GET", editor.path, Host="evil.example")[0] == 403
        assert editor.request("POST", f"{editor.path}done", {}, Origin="http://evil.example")[0] == 403
        assert editor.request("GET", editor.path, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
        assert editor.request("PUT", editor.path)[0] == 405
        assert len(urlsplit(editor.address).path) > 30


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", "[" * 100_000, {"shapes": 1}, {"shapes": [1]}, {"shapes": [make_shape(kind="area")]},
        {"shapes": [make_shape(points=[[0, float("nan")]])]}, {"shapes": [make_shape(points=[[0, 1, 2]])]},
        {"shapes": [make_shape(points=[[0, 0]] * 201)]}, {"shapes": [make_shape()] * 101}, {"shapes": [], "more": 1},
        " " * 1_100_000, {"shapes": [make_shape(origin=5)]}, {"shapes": [make_shape(origin=-1)]},
        {"shapes": [make_shape(points=[[0, 0], [1.5, 0], [1, 1]])]},
    ],
)  # fmt: skip
def test_a_body_that_is_no_drawing_is_refused(body: Any) -> None:
    """The server stays usable."""
    with running_editor() as editor:
        status, text = editor.request("POST", f"{editor.path}check", body)
        assert status == 400, text
        assert b"expected JSON" in text
        assert editor.post("check", make_shape())["errors"] == {}


def test_errors_are_those_of_the_configuration() -> None:
    """A drawing with errors is not accepted; each error is at its shape."""
    with running_editor() as editor:
        answer = editor.post("done", make_shape(), make_shape(name=" "), make_shape(settings={"min_score": 2.0}))
        assert set(answer["errors"]) == {"1", "2"}
        assert "name" in answer["errors"]["1"]
        assert "min_score" in answer["errors"]["2"]
        assert not answer["done"]
        assert editor.thread.is_alive()


def test_anchors_of_all_shipped_skeletons_and_of_the_file_are_accepted(tmp_path: Path) -> None:
    """The file can be for a skeleton of the user."""
    pytest.importorskip("tomlkit")
    path = tmp_path / "camera.toml"
    path.write_text('[[events.zone]]\nname = "bed"\npolygon = [[0, 0], [1, 0], [1, 1]]\nanchor = "tail"\n')
    with running_editor(path) as editor:
        (bed,) = json.loads(editor.request("GET", f"{editor.path}state")[1])["shapes"]
        for anchor in ("feet", "nose", "left_big_toe"):
            assert editor.post("check", bed, make_shape(settings={"anchor": anchor}))["errors"] == {}
        answer = editor.post("done", bed, make_shape(settings={"anchor": "tail"}))
        assert (list(answer["errors"]), answer["done"]) == (["1"], False)
        assert "door" not in path.read_text()
        assert editor.post("done", bed)["done"]


@pytest.mark.parametrize(
    ("shapes", "number", "words"),
    [
        ([make_shape(points=[[0, 0], [1, 1], [1, 0], [0, 1]])], 0, "the edge from corner 1 to 2 crosses"),
        ([make_shape(points=[[0, 0], [0.5, 0.5], [1, 1]])], 0, "crosses"),
        ([make_shape(), make_shape("b"), make_shape("Door")], 2, "a name that no other rule has"),
        ([make_shape(), make_shape("b", settings={"capacity": 1.5})], 1, "capacity: expected an integer"),
        ([make_shape(settings={"dwell_s": -1})], 0, "dwell_s: expected 0 to"),
        ([make_shape(settings={"anchor": "left_anke"})], 0, "no keypoint 'left_anke'; did you mean left_ankle?"),
        ([make_shape(settings={"anchor": 5})], 0, "anchor: expected"),
        ([make_shape("fall")], 0, "a name that no other rule has"),
        ([{**make_shape("fence", points=[[0, 0], [0, 0]]), "kind": "line"}], 0, "are equal"),
    ],
)
def test_errors_are_shown_at_the_shape(shapes: list[dict[str, Any]], number: int, words: str, tmp_path: Path) -> None:
    """Also those that concern other rules of the file."""
    pytest.importorskip("tomlkit")
    path = tmp_path / "camera.toml"
    path.write_text('[[events.fall]]\nname = "fall"\n[[events.posture]]\nname = "in-bed"\ninside = ["bed"]\n'
                    '[[events.zone]]\nname = "bed"\npolygon = [[0, 0], [1, 0], [1, 1]]\n')  # fmt: skip
    document = ConfigFile(path).document
    tables = Tables(document, (WIDTH, HEIGHT))
    bed = tables.list_shapes()[0]
    added = tuple(config.schema.build(Shape, json.loads(json.dumps(shape))) for shape in shapes)
    errors, problem = tables.find_errors(Drawing((*added, bed)))
    assert problem == ""
    assert list(errors) == [number]
    assert words in errors[number]
    assert not errors[number].startswith("events.zone")
    assert tables.find_errors(Drawing((bed,))) == ({}, "")
    # A rule refers to a zone that the user has deleted.
    assert "there is no zone 'bed'" in tables.find_errors(Drawing(()))[1]


def test_done_prints_toml_that_the_configuration_accepts() -> None:
    """Names with quotes and accents survive."""
    with running_editor() as editor:
        editor.post("done", make_shape('Küche "2"'), make_shape("b", settings={"cooldown_s": 2.5}))
        toml = editor.finish()
    zones = config.parse(toml, Path("out.toml")).events.zone
    assert [zone.name for zone in zones] == ['Küche "2"', "b"]
    assert zones[0].polygon == SQUARE
    assert zones[1].cooldown_s == 2.5


def test_the_file_keeps_its_comments_and_other_tables(file: Path) -> None:
    """Only what was changed is written: a moved zone, a new one, and no longer the removed one."""
    with running_editor(file) as editor:
        _, content = editor.request("GET", f"{editor.path}state")
        bed, yard = json.loads(content)["shapes"]
        assert yard["points"] == [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]], "from pixels"
        yard["points"][0] = [0.05, 0.1]
        assert editor.post("done", bed, yard, make_shape())["done"]
        editor.finish()
    text = file.read_text()
    assert text.startswith(FILE[: FILE.index("[[64")].rstrip()[:-9].rstrip()), text
    for comment in ("# The camera at the door.", "# the USB camera", "# never a fall here", "# head", "# seconds"):
        assert comment in text
    zones = config.read(file).events.zone
    assert [zone.name for zone in zones] == ["bed", "yard", "door"]
    assert zones[1].polygon == ((0.05, 0.1), (0.5, 0.1), (0.5, 0.5))
    assert zones[0].cooldown_s == 5


def test_removed_zones_leave_the_file(file: Path) -> None:
    """An empty drawing removes all zones and nothing else."""
    with running_editor(file) as editor:
        assert editor.post("done")["done"]
        editor.finish()
    assert "events" not in file.read_text()
    assert config.read(file).camera.source == "v4l2:0"


def test_a_file_that_was_changed_is_not_overwritten(file: Path) -> None:
    """The page shows the reason, and the drawing is not lost."""
    with running_editor(file) as editor:
        file.write_text(FILE + "# changed\n")
        answer = editor.post("done", make_shape())
        assert not answer["done"]
        assert "changed by another program" in answer["problem"]
        assert file.read_text().endswith("# changed\n")


def test_a_new_file_is_created(tmp_path: Path) -> None:
    """Without a file there are no zones; the result is a valid configuration."""
    pytest.importorskip("tomlkit")
    with running_editor(tmp_path / "new.toml") as editor:
        editor.post("done", make_shape())
        editor.finish()
    assert config.read(tmp_path / "new.toml").events.zone[0].name == "door"


@pytest.mark.parametrize(
    "text",
    [
        "events.zone = []\n", "[events]\n", "[events]\n# rules\n\n[output]\nsinks = []\n", "# only a comment",
        '[events]\nzone = [{name = "a", polygon = [[0, 0], [1, 0], [1, 1]]}]\n',
        'events = {zone = [{name = "a", polygon = [[0, 0], [1, 0], [1, 1]]}]}\n',
    ],
)  # fmt: skip
def test_all_forms_of_toml_get_new_zones(text: str, tmp_path: Path) -> None:
    """Inline tables, empty tables and missing tables."""
    pytest.importorskip("tomlkit")
    path = tmp_path / "camera.toml"
    path.write_text(text)
    file = ConfigFile(path)
    tables = Tables(file.document, (WIDTH, HEIGHT))
    shapes = tables.list_shapes()
    file.write(Drawing((*shapes, Shape("zone", "door", SQUARE))), tables)
    written = config.read(path)
    assert [zone.name for zone in written.events.zone] == [*(shape.name for shape in shapes), "door"]
    for line in text.splitlines():
        if line.startswith("#"):
            assert line in path.read_text()


def test_comments_behind_a_removed_table_stay(tmp_path: Path) -> None:
    """They can belong to the next table. New tables are at the end of the file."""
    pytest.importorskip("tomlkit")
    path = tmp_path / "camera.toml"
    head = '# Rules\n[[events.posture]]\nname = "posture"\n\n'
    zone = '[[events.zone]]\nname = "{}"  # a zone\npolygon = [\n  [0, 0], # [[events.zone]]\n  [1, 0], [1, 1],\n]\n'
    tail = "\n# Where the poses go\n[output]\nsinks = []  # nowhere\n"
    path.write_text(head + zone.format("a") + zone.format("b") + tail + zone.format("c"))
    file = ConfigFile(path)
    tables = Tables(file.document, (WIDTH, HEIGHT))
    _, _, c = tables.list_shapes()
    file.write(Drawing((c, Shape("line", "d", SQUARE[:2]))), tables)
    line = '\n[[events.line]]\nname = "d"\npoints = [[0.1, 0.2], [0.5, 0.2]]\n'
    assert path.read_text() == head + tail + zone.format("c") + line


def test_a_drawing_without_changes_leaves_the_file_as_it_is(file: Path) -> None:
    """Every byte, with line ends of Windows too."""
    for text in (FILE, FILE.replace("\n", "\r\n"), FILE.rstrip("\n")):
        file.write_bytes(text.encode())
        opened = ConfigFile(file)
        tables = Tables(opened.document, (WIDTH, HEIGHT))
        opened.write(Drawing(tuple(tables.list_shapes())), tables)
        assert file.read_bytes() == text.encode()


def test_format_of_values() -> None:
    """TOML strings are escaped."""
    toml = format_tables([("zone", {"name": 'a"\\\n\x7f', "polygon": [[0.0, 1.0], [0.5, 1]], "flag": True})])
    assert config.tomllib.loads(toml)["events"]["zone"][0] == {
        "name": 'a"\\\n\x7f', "polygon": [[0, 1], [0.5, 1]], "flag": True
    }  # fmt: skip


def test_snapshots(tmp_path: Path) -> None:
    """An image, a frame of a video at a time, and the synthetic camera."""
    image = np.full((60, 80, 3), 50, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert (take_snapshot(str(tmp_path / "a.png")) == 50).all()
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (80, 60))
    for value in range(20):
        writer.write(np.full((60, 80, 3), 10 * value, np.uint8))
    writer.release()
    assert abs(int(take_snapshot(str(tmp_path / "a.avi"), 1.0).mean()) - 100) <= 3
    for end in (1.9, 2.0):
        assert abs(int(take_snapshot(str(tmp_path / "a.avi"), end).mean()) - 190) <= 3
    with pytest.raises(InputError, match=r"a\.avi: the video ends at 1\.9 s; .*\(--at\), got 99 s"):
        take_snapshot(str(tmp_path / "a.avi"), 99.0)
    assert (take_snapshot(str(tmp_path / "a.png"), 99.0) == 50).all()
    with pytest.raises(InputError, match="no such file"):
        take_snapshot(str(tmp_path / "b.png"))


def test_snapshot_of_the_page_of_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is that in EDGEPOSE_HTTP_TOKEN; without it, the error names the variable."""
    token = "correct-horse-battery"
    monkeypatch.setenv("EDGEPOSE_HTTP_TOKEN", token)
    from .sink_helpers import make_message

    with page() as sink:
        sink.send(make_message())
        address = f"http://127.0.0.1:{sink.port}/"
        assert take_snapshot(address).shape == (240, 320, 3)
        monkeypatch.delenv("EDGEPOSE_HTTP_TOKEN")
        with pytest.raises(InputError, match="EDGEPOSE_HTTP_TOKEN"):
            take_snapshot(address)


def test_the_command_prints_the_toml(tmp_path: Path) -> None:
    """From the command line to the TOML on stdout, and Ctrl-C ends it without a result."""
    pytest.importorskip("aiohttp")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 80, 3), np.uint8))
    command = [sys.executable, "-m", "edgepose.runtime.cli", "events", "edit", str(tmp_path / "a.png"), "--no-browser"]

    def start() -> tuple[subprocess.Popen[str], str]:
        # A background process of a shell ignores SIGINT, and its children inherit this.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        assert process.stderr is not None
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found is not None
        return process, found[0]

    process, address = start()
    netloc, path = urlsplit(address).netloc, urlsplit(address).path
    connection = http.client.HTTPConnection(netloc, timeout=HANG_S)
    body = json.dumps({"shapes": [make_shape()]})
    connection.request("POST", f"{path}done", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()
    output, errors = process.communicate(timeout=HANG_S)
    assert (process.returncode, config.parse(output, Path("-")).events.zone[0].name) == (0, "door"), errors
    for number in (signal.SIGINT, signal.SIGTERM):
        process, _ = start()
        process.send_signal(number)
        assert process.communicate(timeout=HANG_S)[0] == ""
        assert process.returncode not in (0, 1)


def test_another_address_is_printed_with_the_host_name() -> None:
    """0.0.0.0 is no address that a browser can open."""
    pytest.importorskip("aiohttp")
    editor = Editor(EditorServer(np.zeros((60, 80, 3), np.uint8), "a.png", None, "0.0.0.0", 0))
    assert urlsplit(editor.address).hostname == socket.gethostname().lower()
    editor.address = editor.address.replace(socket.gethostname(), "127.0.0.1")
    assert editor.request("GET", f"{editor.path}state", Host=socket.gethostname())[0] == 200
    editor.end()


def test_wrong_use(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing image, a wrong file, a port in use."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 80, 3), np.uint8))
    image = tmp_path / "a.png"
    missing = call_edgepose(capfd, "events", "edit", tmp_path / "b.png")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    if not os.environ.get("DISPLAY"):
        assert not events_edit._has_browser()
    with running_editor() as editor:
        port = urlsplit(editor.address).port
        done = call_edgepose(capfd, "events", "edit", image, "--no-browser", "--port", str(port))
        assert done.returncode == 2
        assert f"port {port}: Address already in use" in done.stderr
    pytest.importorskip("tomlkit")
    (tmp_path / "wrong.toml").write_text("[[events.zone]]\nnam = 1\n")
    wrong = call_edgepose(capfd, "events", "edit", image, "--config", tmp_path / "wrong.toml")
    assert (wrong.returncode, "did you mean name?" in wrong.stderr) == (2, True)
    monkeypatch.setitem(sys.modules, "tomlkit", None)
    extra = call_edgepose(capfd, "events", "edit", image, "--config", tmp_path / "wrong.toml")
    monkeypatch.delitem(sys.modules, "edgepose.device.sinks.http_server", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    page = call_edgepose(capfd, "events", "edit", image, "--no-browser")
    for done in (extra, page):
        assert (done.returncode, done.stderr.count("events edit")) == (2, 1)
    assert re.search(r"pip install .*\[edit\]", extra.stderr)


# In a real browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not (BROWSER and DRIVER):
        pytest.skip("chromium is not installed (Debian: chromium chromium-driver)")
    shown = Browser(tmp_path_factory.mktemp("downloads"))
    try:
        yield shown
    finally:
        shown.driver.quit()


def open_editor(browser: Browser, editor: Editor, count: int = 0, **options: Any) -> None:
    browser.open(editor.address, **options)
    wait_until(lambda: browser.text("toml") and len(list_names(browser)) == count)


def list_names(browser: Browser) -> list[str]:
    return list(browser.run("return Array.from(document.querySelectorAll('#list span'), (e) => e.textContent)"))


def find_points(browser: Browser) -> list[list[float]]:
    """The points of the selected shape, as the TOML on the page has them."""
    return list(browser.run("return shapes.current.points"))


def locate(browser: Browser, x: float, y: float) -> tuple[int, int]:
    box = browser.run("const b = document.getElementById('canvas').getBoundingClientRect();"
                      "return [b.left, b.top, b.width, b.height]")  # fmt: skip
    return round(box[0] + x * box[2]), round(box[1] + y * box[3])


def use_pointer(browser: Browser, *path: tuple[float, float], kind: str = "mouse", press: bool = True) -> None:
    """Press at the first point, move over the others, release at the last one."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    actions = ActionBuilder(browser.driver, mouse=PointerInput(kind, kind))
    for number, (x, y) in enumerate(path):
        actions.pointer_action.move_to_location(*locate(browser, x, y))
        if number == 0 and press:
            actions.pointer_action.pointer_down()
    if press:
        actions.pointer_action.pointer_up()
    actions.perform()


def click(browser: Browser, name: str) -> None:
    browser.driver.find_element("id", name).click()


def test_draw_a_zone_with_the_mouse(browser: Browser) -> None:
    """Draw, drag a corner, add one, move the zone, undo and redo; the TOML on stdout is that of the page."""
    with running_editor() as editor:
        open_editor(browser, editor)
        click(browser, "add-zone")
        for point in ((0.2, 0.2), (0.6, 0.2), (0.6, 0.7), (0.2, 0.7)):
            use_pointer(browser, point)
        use_pointer(browser, (0.2, 0.2))
        assert list_names(browser) == ["zone-1"]
        browser.press("gate")
        wait_until(lambda: 'name = "gate"' in browser.text("toml"))
        np.testing.assert_allclose(find_points(browser), [[0.2, 0.2], [0.6, 0.2], [0.6, 0.7], [0.2, 0.7]], atol=0.003)
        use_pointer(browser, (0.6, 0.7), (0.7, 0.75), (0.8, 0.9))
        np.testing.assert_allclose(find_points(browser)[2], [0.8, 0.9], atol=0.003)
        use_pointer(browser, (0.4, 0.2), (0.4, 0.1))
        assert len(find_points(browser)) == 5
        use_pointer(browser, (0.4, 0.5), (0.5, 0.5), (0.45, 0.5))
        np.testing.assert_allclose(find_points(browser)[0], [0.25, 0.2], atol=0.004)
        click(browser, "undo")
        click(browser, "undo")
        assert len(find_points(browser)) == 4
        click(browser, "redo")
        np.testing.assert_allclose(find_points(browser)[1], [0.4, 0.1], atol=0.004)
        use_pointer(browser, (0.2, 0.7), (0.1, 0.9), (0.001, 0.999))
        assert find_points(browser)[4] == [0, 1], "snaps to the border"
        wait_until(lambda: "[0, 1]" in browser.text("toml"))
        shown = browser.text("toml")
        click(browser, "done")
        wait_until(lambda: "close this page" in browser.text("end-text"))
        assert editor.finish() == shown
        zone = config.parse(shown, Path("-")).events.zone[0]
        assert (zone.name, len(zone.polygon)) == ("gate", 5)
        assert browser.get_script_errors() == []


def test_draw_a_line_and_swap_its_direction(browser: Browser, tmp_path: Path) -> None:
    """The arrow is on the side that counts as `in`; a line of the file with `swap` has it on the other side."""
    pytest.importorskip("tomlkit")
    path = tmp_path / "camera.toml"
    path.write_text('[[events.line]]\nname = "gate"\npoints = [[0.6, 0.2], [0.9, 0.2]]\nswap = true\n')

    def find_arrows() -> list[str]:
        """The side of the arrow of each line: its box is higher than the line only there."""
        found = browser.run("""return shapes.list.map((shape, index) => {
            const box = document.querySelector(`[data-index='${index}'] .over`).getBBox();
            return [box.y, box.y + box.height, shape.points[0][1] * state.height];
        });""")
        return ["above" if line - top > bottom - line else "below" for top, bottom, line in found]

    with running_editor(path) as editor:
        open_editor(browser, editor, count=1)
        assert find_arrows() == ["above"]
        click(browser, "add-line")
        use_pointer(browser, (0.1, 0.5))
        use_pointer(browser, (0.5, 0.5))
        browser.press("door")
        assert find_arrows() == ["above", "below"]
        click(browser, "swap")
        assert find_arrows() == ["above", "above"]
        use_pointer(browser, (0.3, 0.5), (0.3, 0.6), (0.3, 0.7))
        assert len(find_points(browser)) == 3
        browser.run("const f = document.getElementById('field-anchor'); f.value = 'center';"
                    "f.dispatchEvent(new Event('change'));")  # fmt: skip
        wait_until(lambda: 'anchor = "center"' in browser.text("toml"))
        click(browser, "done")
        wait_until(lambda: "close this page" in browser.text("end-text"))
        editor.finish()
    gate, door = config.read(path).events.line
    assert (gate.swap, gate.points) == (True, ((0.6, 0.2), (0.9, 0.2)))
    assert (door.name, door.anchor, door.swap) == ("door", "center", False)
    np.testing.assert_allclose(door.points, [[0.5, 0.5], [0.3, 0.7], [0.1, 0.5]], atol=0.004)
    assert browser.get_script_errors() == []


def test_draw_with_the_keyboard(browser: Browser) -> None:
    """A zone in the middle whose corners are moved by arrow keys."""
    from selenium.webdriver.common.keys import Keys

    with running_editor() as editor:
        open_editor(browser, editor)
        browser.run("document.getElementById('add-zone').focus()")
        browser.press(Keys.ENTER)
        assert browser.run("return document.activeElement.dataset.corner") == "0"
        browser.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
        np.testing.assert_allclose(find_points(browser)[0], [0.3 + 2 / WIDTH, 0.3 + 1 / HEIGHT])
        browser.press(Keys.INSERT)
        assert len(find_points(browser)) == 5
        assert browser.run("return document.activeElement.dataset.corner") == "1"
        browser.press(Keys.DELETE)
        assert len(find_points(browser)) == 4
        browser.press(Keys.TAB)
        assert "Corner" in browser.run("return document.activeElement.getAttribute('aria-label')")
        for _ in range(4):
            browser.press(Keys.DELETE)
        assert list_names(browser) == []
        browser.run("document.getElementById('canvas').focus()")
        browser.press(Keys.CONTROL, "z")
        assert browser.get_script_errors() == []


def test_draw_on_a_phone_and_see_errors(browser: Browser) -> None:
    """Touch, a narrow window, an error at the shape and a disabled button."""
    with running_editor() as editor:
        open_editor(browser, editor, width=390, height=844, scheme="dark")
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        click(browser, "add-zone")
        for point in ((0.2, 0.2), (0.8, 0.2), (0.5, 0.8)):
            use_pointer(browser, point, kind="touch")
        assert browser.text("add-zone-text") == "Finish zone"
        click(browser, "add-zone")
        assert list_names(browser) == ["zone-1"]
        np.testing.assert_allclose(find_points(browser)[2], [0.5, 0.8], atol=0.01)
        use_pointer(browser, (0.5, 0.8), (0.5, 0.9), kind="touch")
        np.testing.assert_allclose(find_points(browser)[2], [0.5, 0.9], atol=0.01)
        browser.run("const n = document.getElementById('name'); n.value = ''; n.dispatchEvent(new Event('input'));")
        wait_until(lambda: browser.text("error"))
        assert browser.run("return document.getElementById('done').disabled")
        assert browser.run("return document.querySelectorAll('#canvas .wrong').length") == 1
        click(browser, "remove")
        wait_until(lambda: not browser.run("return document.getElementById('done').disabled"))
        assert browser.get_script_errors() == []


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844), (320, 568), (844, 390)])
def test_done_is_visible_without_scrolling(browser: Browser, file: Path, width: int, height: int) -> None:
    """With a selected zone; nothing of the header is wider than the window."""
    with running_editor(file) as editor:
        open_editor(browser, editor, count=2, width=width, height=height)
        assert browser.run("return !document.getElementById('form').hidden")
        box = browser.run("const b = document.getElementById('done').getBoundingClientRect();"
                          "return [b.left, b.top, b.right, b.bottom, scrollY]")  # fmt: skip
        assert 0 <= box[0] < box[2] <= width
        assert 0 <= box[1] < box[3] <= height / 2
        assert box[4] == 0
        assert browser.run("return document.documentElement.scrollWidth") <= width
        file.write_text(FILE + "# changed\n")
        click(browser, "done")
        wait_until(lambda: "changed by another program" in browser.text("problem"))
        assert browser.run("return document.getElementById('problem').getBoundingClientRect().bottom") <= height


def test_hints_for_touch_name_no_keys(browser: Browser, file: Path) -> None:
    def emulate_touch(is_touch: bool) -> None:
        browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": is_touch})

    with running_editor(file) as editor:
        open_editor(browser, editor, count=2, width=390, height=844)
        assert "arrow keys" in browser.text("hint")
        emulate_touch(True)
        try:
            wait_until(lambda: "keys" not in browser.text("hint"))
            assert browser.text("hint").startswith("Drag a corner")
            click(browser, "add-zone")
            assert browser.text("hint").startswith("Tap the corners")
        finally:
            emulate_touch(False)


def test_rules_of_the_file_are_shown(browser: Browser, file: Path) -> None:
    """Names from a file are text, never HTML; the file is written when the user is done."""
    file.write_text(FILE.replace('"yard"', '"<img src=x onerror=alert(1)>"'))
    with running_editor(file) as editor:
        open_editor(browser, editor, count=2)
        assert list_names(browser) == ["bed", "<img src=x onerror=alert(1)>"]
        assert browser.run("return document.querySelectorAll('#list img, #canvas img').length") == 0
        use_pointer(browser, (0.45, 0.3))
        browser.run("const n = document.getElementById('name'); n.value = 'park'; n.dispatchEvent(new Event('input'));")
        wait_until(lambda: 'name = "park"' in browser.text("toml"))
        click(browser, "done")
        wait_until(lambda: "close this page" in browser.text("end-text"))
        editor.finish()
    assert [zone.name for zone in config.read(file).events.zone] == ["bed", "park"]
    assert browser.get_script_errors() == []
