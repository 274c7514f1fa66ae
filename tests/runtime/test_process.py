"""Commands that get a signal, write to a full disk, or have closed streams."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from edgepose.runtime.io.record_file import RecordFile, RecordWriteError
from edgepose.runtime.synthetic import Scene

from ..conftest import HANG_S, run_edgepose

pytestmark = pytest.mark.once
EDGEPOSE = [sys.executable, "-m", "edgepose.runtime.cli"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 400 images of two people."""
    folder = tmp_path_factory.mktemp("many")
    cv2.imwrite(str(folder / "0.png"), Scene(2, 320, 240).render_frame(0).image)
    for number in range(1, 400):
        (folder / f"{number}.png").symlink_to("0.png")
    return folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_results_are_kept_after_a_signal(number: signal.Signals, code: int, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "poses.jsonl"
    command = [*EDGEPOSE, "run", *[str(many)] * 20, "--json", str(out), "-m", "edgepose-tiny", "--threads", "1"]
    # A test run that was started in the background ignores Ctrl-C, and would hand that on.
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)
    ) as child:
        while not any(part.stat().st_size for part in tmp_path.glob(".*.part")):
            assert child.poll() is None
            time.sleep(0.05)
        child.send_signal(number)
        _, errors = child.communicate(timeout=HANG_S)
    assert child.returncode == code
    assert "Traceback" not in errors
    assert all(json.loads(line)["poses"] for line in out.read_text().splitlines())
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """For example under `nohup`."""
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from edgepose.runtime.cli.signals import raise_on_signals\n"
        "with raise_on_signals(): os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "alive\n"


def run_with_file_limit(size: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run edgepose with a limit on the file size, so that a write fails in the middle as on a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    command = [*EDGEPOSE, "run", *map(str, arguments), "-m", "edgepose-tiny"]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False, timeout=HANG_S)


@pytest.mark.parametrize("kind", ["edgepose", "coco"])
def test_a_full_disk_keeps_the_results_before(kind: str, many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run_with_file_limit(20_000, many, "--format", kind, "--json", out)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"edgepose run: {out}: File too large; the results before are in it"
    text = out.read_text()
    records = [json.loads(line) for line in text.splitlines()] if kind == "edgepose" else json.loads(text)
    assert len(records) > 5
    assert 15_000 < len(text) <= 20_000
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_records_are_removed_to_write_the_end_of_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a"
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        with RecordFile(path) as file:
            file.write("aaaa")
            file.write("bbbb")
            with pytest.raises(RecordWriteError, match="File too large"):
                file.write("cc")
            file.write("]")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == "aaaa]"


def test_removed_records_leave_no_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the space of the last records is not enough, they are cut off and leave no zeros."""
    path, room, write = tmp_path / "a", 6, os.write

    def limited(handle: int, content: bytes) -> int:
        if os.lseek(handle, 0, os.SEEK_CUR) + len(content) > room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, content)

    monkeypatch.setattr(os, "write", limited)
    with RecordFile(path) as file:
        for record in ("aaaa", "b", "c"):
            file.write(record)
        for rejected in ("dddd", "]]]]"):
            with pytest.raises(RecordWriteError, match="No space left"):
                file.write(rejected)
    assert path.read_text() == "aaaa"


def test_help_for_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    # Buffered output fails at the flush, not at the print.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [*EDGEPOSE, "run", "--help"], stdout=pipe, stderr=subprocess.PIPE, check=False, env=environment
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["--help", "--version", "run --help", "models", "info", "run synthetic:1"])
@pytest.mark.parametrize("redirected", [">&-", ">/dev/full"])
def test_an_output_that_cannot_be_written_is_one_line(command: str, redirected: str) -> None:
    line = f"{sys.executable} -m edgepose.runtime.cli {command} {redirected}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.match(r"edgepose( \w+)?: cannot write", last)
    assert last.endswith(("Bad file descriptor", "No space left on device"))


def test_closed_streams_do_not_write_into_files(tmp_path: Path) -> None:
    """A file that is opened while file descriptor 1 or 2 is closed would get the messages."""
    out = tmp_path / "out.jsonl"
    line = f"{sys.executable} -m edgepose.runtime.cli run synthetic:1 --json {out} <&- >&- 2>&-"
    assert subprocess.run(line, shell=True, check=False, timeout=HANG_S).returncode == 0
    assert json.loads(out.read_text())["poses"]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Create a FIFO without a writer."""
    os.mkfifo(tmp_path / "fifo.pb")
    return tmp_path / "fifo.pb"


@pytest.mark.parametrize(
    "command",
    [
        "eval --images {folder} --annotations {fifo}", "camera --config {fifo}", "convert {fifo} -o {folder}/x.tflite",
        "info {fifo}", "run {fifo}", "run -m {fifo} synthetic:1", "deploy @{fifo}", "profile --merge {fifo}",
    ],
)  # fmt: skip
def test_a_fifo_without_a_writer_is_refused(command: str, fifo: Path) -> None:
    if command.startswith("eval"):
        pytest.importorskip("pycocotools")
    if command.startswith("deploy"):
        pytest.importorskip("pyinfra")
    done = run_edgepose(*command.format(folder=fifo.parent, fifo=fifo).split())
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert str(fifo) in done.stderr


def test_a_pipe_of_the_shell_is_read(tmp_path: Path) -> None:
    line = (
        f"{sys.executable} -m edgepose.runtime.cli camera --config "
        "<(printf '[camera]\\nsource = \"synthetic\"\\n') --sink - --seconds 1.5"
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    assert "frames" in done.stderr


def test_standard_input_is_read() -> None:
    done = subprocess.run(
        [*EDGEPOSE, "camera", "--config", "/dev/stdin", "--sink", "-", "--seconds", "1.5"],
        input='[camera]\nsource = "synthetic"\n', capture_output=True, text=True, check=False, timeout=HANG_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
