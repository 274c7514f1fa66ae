"""The list of known models, and downloads from a local server with many kinds of faults."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgepose.runtime.errors import ModelError
from edgepose.runtime.model import registry
from edgepose.runtime.model.registry_file import read_list

from ..conftest import measure_slowness, run_edgepose

pytestmark = pytest.mark.once

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT_BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()

Answer = Callable[[BaseHTTPRequestHandler], None]


def good(handler: BaseHTTPRequestHandler, promised: int = len(CONTENT), sent: bytes = CONTENT) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(promised))
    handler.end_headers()
    handler.wfile.write(sent)


def truncated(handler: BaseHTTPRequestHandler) -> None:
    good(handler, sent=CONTENT[:1000])


def wrong(handler: BaseHTTPRequestHandler) -> None:
    good(handler, sent=CONTENT[::-1])


def stalled(handler: BaseHTTPRequestHandler) -> None:
    good(handler, sent=CONTENT[:1000])
    handler.server.released.wait(20)  # type: ignore[attr-defined]


def status(code: int) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_error(code)

    return answer


@dataclass
class Server:
    """HTTP server that sends its answers in order and then repeats the last one."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    asked: int = 0


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = min(told.asked, len(told.answers) - 1)
            told.asked += 1
            told.answers[number](self)

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.released = threading.Event()  # type: ignore[attr-defined]
    told = Server(f"http://127.0.0.1:{http.server_address[1]}/net.pb")
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield told
    http.released.set()  # type: ignore[attr-defined]
    http.shutdown()
    thread.join(5)
    http.server_close()


@pytest.fixture
def listed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up models `local` (by SHA-256) and `local_git` in a user's list, and an empty cache. Return its path."""
    pytest.importorskip("pooch")
    entries = {"local": f'sha256 = "{SHA256}"', "local_git": f'git_blob = "{GIT_BLOB}"'}
    (tmp_path / "models.toml").write_text(
        "\n".join(
            f'[{name}]\nnetwork = "mobilenet_thin"\npublished = "here"\nlicense = "none"\ninput_size = "432x368"\n'
            f'[[{name}.files]]\nname = "net.pb"\nurl = "{server.url}"\n{entry}'
            for name, entry in entries.items()
        )
    )
    monkeypatch.setenv("EDGEPOSE_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/edgepose"


def list_stored(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file()) if cache.exists() else []


@pytest.mark.parametrize("name", ["local", "local_git"])
def test_weights_are_fetched_once(name: str, server: Server, listed: Path) -> None:
    server.answers = [good]
    for _ in range(2):
        result = run_edgepose("models", "fetch", name)
        assert (result.returncode, result.stdout) == (0, f"{listed / name / 'net.pb'}\n"), result
    assert server.asked == 1
    assert [path.read_bytes() for path in list_stored(listed)] == [CONTENT]
    assert json.loads(run_edgepose("models", "show", name, "--json").stdout)["weights"] == str(listed / name / "net.pb")


@pytest.mark.parametrize("name", ["local", "local_git"])
@pytest.mark.parametrize("first", [truncated, wrong, status(503)], ids=["truncated", "wrong", "503"])
def test_a_temporary_fault_is_retried(name: str, first: Answer, server: Server, listed: Path) -> None:
    server.answers = [first, good]
    result = run_edgepose("models", "fetch", name)
    assert result.returncode == 0, result
    assert server.asked == 2
    assert [path.read_bytes() for path in list_stored(listed)] == [CONTENT]


@pytest.mark.parametrize("name", ["local", "local_git"])
@pytest.mark.parametrize(
    ("answer", "words", "asked"),
    [
        (truncated, "the download from 127.0.0.1 is incomplete", 3),
        (wrong, "does not have the expected hash", 3),
        (status(404), "127.0.0.1 returned HTTP status 404 for http://127.0.0.1", 1),
    ],
    ids=["truncated", "wrong", "404"],
)
def test_a_permanent_fault_is_one_line_and_leaves_nothing(
    name: str, answer: Answer, words: str, asked: int, server: Server, listed: Path, tmp_path: Path
) -> None:
    server.answers = [answer]
    result = run_edgepose("convert", name, "-o", tmp_path / "out.tflite")
    assert result.returncode == 2
    assert words in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert server.asked == asked
    assert list_stored(listed) == []


def test_a_stalled_server_times_out(server: Server, listed: Path) -> None:
    from edgepose.convert.download import fetch_model

    server.answers = [stalled]
    model = registry.find_known_model("local")
    assert model is not None
    start = time.monotonic()
    with pytest.raises(ModelError, match="does not answer"):
        fetch_model(model, timeout_s=(0.3, 0.3), retries=1)
    assert time.monotonic() - start < 10 * measure_slowness()
    assert server.asked == 2
    assert list_stored(listed) == []


def test_a_server_that_is_not_there_is_one_line(listed: Path) -> None:
    text = (listed.parent.parent / "models.toml").read_text()
    (listed.parent.parent / "models.toml").write_text(text.replace("http://127.0.0.1:", "http://127.0.0.1:1/"))
    result = run_edgepose("models", "fetch", "local")
    assert result.returncode == 2
    assert "no connection to 127.0.0.1" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["local", "local_git"])
def test_a_damaged_cache_is_repaired(name: str, server: Server, listed: Path) -> None:
    place = listed / name / "net.pb"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT[:-1] + b"x")
    assert "not downloaded" in run_edgepose("models").stdout
    server.answers = [good]
    assert run_edgepose("models", "fetch", name).returncode == 0
    assert place.read_bytes() == CONTENT


def test_no_space_is_one_line_and_leaves_nothing(server: Server, listed: Path) -> None:
    """A limit on the file size simulates a full disk: the same write fails."""
    server.answers = [good]
    command = [sys.executable, "-m", "edgepose.runtime.cli", "models", "fetch", "local"]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 2, done
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert list_stored(listed) == []


def test_the_packages_own_list_is_read() -> None:
    names = [model.name for model in registry.load_known_models()]
    assert names[:4] == ["human-pose-estimation-0001", "mobilenet_v2_small", "mobilenet_thin", "mobilenet_v2_large"]
    thin = registry.find_known_model("mobilenet_thin")
    assert thin is not None
    assert thin.files[0].sha256.startswith("51f84ea82b3d")
    from edgepose.convert.networks import NETWORKS

    assert {model.network for model in registry.load_known_models()} <= NETWORKS.keys()


MODEL = 'network = "cmu"\npublished = "x"\nlicense = "x"\ninput_size = "432x368"\n'
FILE = f'[[m.files]]\nname = "a.pb"\nurl = "https://host/a.pb"\nsha256 = "{SHA256}"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[m", "not a readable list"),
        ("m = 3", "m: expected an object, got 3"),
        (f"[m]\n{MODEL}", "'files' is missing"),
        (f'["../m"]\n{MODEL}', "a name of letters"),
        (f"[m]\n{MODEL}color = 3\n{FILE}", "color: there is no such key"),
        (f"[m]\n{MODEL.replace('432x368', 'large')}{FILE}", "m.input_size: expected WIDTHxHEIGHT, got large"),
        (f"[m]\n{MODEL}{FILE.replace('a.pb', '../a.pb', 1)}", r"files\[0\].name: expected a file name"),
        (f"[m]\n{MODEL}{FILE.replace('https', 'file')}", r"files\[0\].url: expected http"),
        (f"[m]\n{MODEL}{FILE.replace(SHA256, 'abc')}", "expected 64 hexadecimal digits, got abc"),
        (f'[m]\n{MODEL}{FILE}git_blob = "{GIT_BLOB}"', "expected either sha256 or git_blob, got sha256 and git_blob"),
        (f"[m]\n{MODEL}{FILE.partition('sha256')[0]}", "expected either sha256 or git_blob, got neither"),
    ],
)
def test_a_wrong_list_is_named_with_its_entry(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(ModelError, match=words):
        read_list(tmp_path / "models.toml")


def test_the_command_lists_and_shows(tmp_path: Path) -> None:
    table = run_edgepose("models")
    assert table.returncode == 0
    for name in ("cmu", "dsconv", "mobilenet_fast", "mobilenet_v2_w0.75_r1.0", "human-pose-estimation-0001"):
        assert f"\n{name} " in table.stdout
    entries = json.loads(run_edgepose("models", "list", "--json").stdout)
    small = next(entry for entry in entries if entry["name"] == "mobilenet_v2_small")
    assert (small["macs"], small["stages"], small["stride"]) == (1_006_203_816, 6, 8)
    page = run_edgepose("models", "show", "mobilenet_thin").stdout
    assert "sha256 51f84ea82b3d" in page
    for arguments, words in [
        (["show"], "needs the NAME"),
        (["list", "cmu"], "takes no name"),
        (["show", "mobilnet_thin"], "did you mean mobilenet_thin"),
        (["fetch", "cmu"], "no published weights are known"),
        (["fetch", "nothing"], "not known"),
        (["burn"], "expected list, show or fetch, got 'burn'"),
    ]:
        result = run_edgepose("models", *arguments)
        assert (result.returncode, words in result.stderr, result.stderr.count("\n")) == (2, True, 1), result
