"""Soak test of the camera loop (`make soak`, `--minutes 10`).

The camera is lost 200 times, the broker is restarted 50 times, and 50 clients of the page disconnect without notice.
Two more camera loops with the same name use the same broker: one reads a network camera that closes every connection
after three frames, one reads a camera that returns one image per request. Folders with damaged images are processed
repeatedly. Checked at the end: memory, threads and file descriptors have not grown since the warm-up, every frame is
counted, every process ended in time with the right exit code, and no client was disconnected by another client with the
same id.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from edgepose.device.camera import loop as loop_module
from edgepose.device.camera.loop import Loop
from edgepose.device.camera.malloc import limit_arenas
from edgepose.device.config import LoopConfig
from edgepose.device.monitor.stats import Stats
from edgepose.device.sinks.factory import open_sinks
from edgepose.device.sources.base import SyntheticCamera
from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import InputError
from edgepose.runtime.types import Frame

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.device.camera_server import JPEG, camera_server

LOSSES, RESTARTS, WATCHERS = 200, 50, 50
_WARM_UP_SHARE = 0.15
"""Warm-up as a share of the total time. Memory is measured for the first time after it."""
_MAX_GROWTH_MB = 2.0
_MAX_CHILD_GROWTH_MB = 8.0
"""Limit for a loop that opens its camera again and again; includes the caches of FFmpeg."""


class UnreliableSource(SyntheticCamera):
    """Source that is lost after `seconds` and counts its frames."""

    delivered = 0

    def __init__(self, seconds: float) -> None:
        super().__init__(3, 640, 480, 30.0, distinct_frames=4)
        self._until = time.monotonic() + seconds

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            if time.monotonic() > self._until:
                raise InputError("the cable is out")
            UnreliableSource.delivered += 1
            yield frame


class Disturber:
    """Thread that restarts the broker and disconnects clients of the page until it is stopped."""

    def __init__(self, folder: Path, mqtt_port: int, http_port: int, minutes: float) -> None:
        self.restarts = self.watchers = 0
        self._mqtt_port, self._http_port, self._pause = mqtt_port, http_port, minutes * 60 / RESTARTS
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(f"listener {mqtt_port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_dest stderr\n")
        self.broker_log = folder / "mosquitto.log"
        self._stop = threading.Event()
        self._broker = self._start()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and the broker."""
        self._stop.set()
        self._thread.join()
        self._broker.kill()
        self._broker.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(self._settings)]
        with self.broker_log.open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _work(self) -> None:
        while not self._stop.wait(self._pause / 2):
            with (
                contextlib.suppress(ConnectionError),  # the loop may have just ended
                socket.create_connection(("127.0.0.1", self._http_port), 5) as link,
            ):
                path = b"/stream.mjpg" if self.watchers % 2 else b"/poses"
                link.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
                link.recv(1000)
            self.watchers += 1
            if self._stop.wait(self._pause / 2):
                return
            self._broker.kill()
            self._broker.wait()
            self._broker = self._start()
            self.restarts += 1


class CameraProcess:
    """Another `edgepose camera` process with the same broker and the same name."""

    def __init__(self, folder: Path, name: str, source: str, mqtt_port: int) -> None:
        self.name, self._log = name, folder / f"{name}.log"
        command = [
            sys.executable, "-m", "edgepose.runtime.cli", "camera", "--source", source, "--threads", "1",
            "--sink", f"mqtt://127.0.0.1:{mqtt_port}/soak-{name}", "--sink", f"jsonl:{folder}/{name}.jsonl",
        ]  # fmt: skip
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, stderr=log)
        self.memory_mb: list[float] = []

    def measure(self) -> None:
        """Record the resident memory."""
        with contextlib.suppress(OSError, IndexError):
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
            self.memory_mb.append(int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    def end(self) -> list[str]:
        """Terminate the process and return a list of errors."""
        wrong = []
        if self._process.poll() is not None:
            wrong.append(f"{self.name}: ended by itself with {self._process.returncode}")
        start = time.monotonic()
        self._process.terminate()
        try:
            code = self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return [*wrong, f"{self.name}: did not end"]
        took = time.monotonic() - start
        log = self._log.read_text()
        if code:
            wrong.append(f"{self.name}: exit code {code}")
        if took > 3:
            wrong.append(f"{self.name}: took {took:.1f} s to end")
        if "Traceback" in log:
            wrong.append(f"{self.name}: its log contains a traceback")
        tenth = max(1, len(self.memory_mb) // 10)
        growth = median(self.memory_mb[-tenth:]) - median(self.memory_mb[:tenth])
        if growth > _MAX_CHILD_GROWTH_MB:
            wrong.append(f"{self.name}: memory grew by {growth:.1f} MB")
        print(f"camera     {self.name}: {growth:+.1f} MB, {len(log.splitlines())} lines of log, ended in {took:.1f} s")
        return wrong


class FolderThread(threading.Thread):
    """Thread that repeatedly processes a folder with damaged images."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._images, self._stop_requested = folder / "images", threading.Event()
        self._images.mkdir()
        self.runs = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        """Process the folder until `stop` is called."""
        for name in ("a.jpg", "c.jpg", "e.jpg"):
            (self._images / name).write_bytes(JPEG)
        (self._images / "b.jpg").write_bytes(JPEG[:100])
        (self._images / "d.jpg").write_bytes(b"<!DOCTYPE html>")
        command = [
            sys.executable, "-m", "edgepose.runtime.cli", "camera", "--source", str(self._images), "--threads", "1",
            "--sink", "-",
        ]  # fmt: skip
        while not self._stop_requested.wait(5):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            if done.returncode != 1 or done.stdout.count("\n") != 3:
                self.wrong.append(f"folder: exit code {done.returncode}, {done.stdout.count(chr(10))} images")
            self.runs += 1

    def stop(self) -> list[str]:
        """Stop the thread and return a list of errors."""
        self._stop_requested.set()
        self.join()
        print(f"folders    {self.runs} runs over three good and two bad images")
        return self.wrong


def _read_process_state() -> tuple[float, int, int]:
    """Return resident memory in MB, number of threads, number of open file descriptors."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        threading.active_count(),
        len(list(Path("/proc/self/fd").iterdir())),
    )


def _find_free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


def main() -> int:
    """Run the soak test and return 0 if all checks passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", help="default: edgepose-tiny")
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    logging.getLogger("edgepose").setLevel(logging.ERROR)
    # Use short delays: with the normal, growing delays the camera would be lost only a few times.
    loop_module._RECONNECT_DELAYS_S = (0.1,)
    limit_arenas()  # as `edgepose camera` does
    seconds = arguments.minutes * 60
    states: list[tuple[float, int, int]] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name, camera_server() as cameras:
        folder = Path(name)
        mqtt_port, http_port = _find_free_port(), _find_free_port()
        stats = Stats("soak")
        wanted = [
            f"jsonl:{folder}/poses.jsonl?rotate=1MB&keep=2", f"mqtt://127.0.0.1:{mqtt_port}/soak",
            f"http://127.0.0.1:{http_port}", "udp://127.0.0.1:9",
        ]  # fmt: skip
        sinks = open_sinks(wanted, stats, "blur", name="first")
        sinks += open_sinks([f"mqtt://127.0.0.1:{mqtt_port}"], stats, None, name="second board")
        stats.sinks = list(sinks)
        estimator = PoseEstimator(arguments.model, threads=1)
        # The loop needs half a second to reopen a camera that is available again at once.
        life = max(0.05, seconds / LOSSES - 0.1)
        loop = Loop(lambda: UnreliableSource(life), [lambda: estimator], sinks, LoopConfig(), stats)
        disturber = Disturber(folder, mqtt_port, http_port, arguments.minutes)
        companions = [
            CameraProcess(folder, kind, cameras.url(path), mqtt_port)
            for kind, path in (("flapping", "flapping/3"), ("snapshot", "snapshot"))
        ]
        folders = FolderThread(folder)
        folders.start()

        def measure() -> None:
            time.sleep(seconds * _WARM_UP_SHARE)
            while stats.state != "stopping":
                states.append(_read_process_state())
                for companion in companions:
                    companion.measure()
                time.sleep(seconds / 100)

        watcher = threading.Thread(target=measure, daemon=True)
        watcher.start()
        loop.run(seconds)
        watcher.join()
        wrong += [fault for companion in companions for fault in companion.end()]
        wrong += folders.stop()
        disturber.stop()
        if thrown := disturber.broker_log.read_text().count("closing old connection"):
            wrong.append(f"broker: a client was disconnected by another one with the same id {thrown} times")
    return _check_results(states, stats, disturber, wrong)


def _check_results(states: list[tuple[float, int, int]], stats: Stats, disturber: Disturber, wrong: list[str]) -> int:
    tenth = max(1, len(states) // 10)
    first, last = states[:tenth], states[-tenth:]
    growth = median(state[0] for state in last) - median(state[0] for state in first)
    in_pipeline = UnreliableSource.delivered - stats.processed - stats.dropped - stats.skipped
    print(f"frames     {UnreliableSource.delivered} delivered, {stats.processed} processed, {stats.dropped} dropped")
    print(f"           {in_pipeline} in the pipeline when a camera was lost, in {stats.camera_losses} losses")
    print(f"broker     {disturber.restarts} restarts; page: {disturber.watchers} clients disconnected without notice")
    print(f"memory     {first[0][0]:.1f} MB after the warm-up, {last[-1][0]:.1f} MB at the end: {growth:+.2f} MB")
    print("           over time: " + " ".join(f"{state[0]:.1f}" for state in states[::tenth]))
    threads, handles = (max(s[i] for s in last) - max(s[i] for s in first) for i in (1, 2))
    print(f"threads    {threads:+d}; descriptors {handles:+d}")
    for sink in stats.sinks:
        print(f"sink       {sink.name}: {sink.get_counts()}")
    checks = {
        "memory": growth < _MAX_GROWTH_MB, "threads": threads <= 0, "descriptors": handles <= 2,
        # The pipeline holds at most four frames when its camera is lost.
        "frames": 0 <= in_pipeline <= 4 * (stats.camera_losses + 1),
    }  # fmt: skip
    for name, passed in checks.items():
        if not passed:
            print(f"failed: {name}", file=sys.stderr)
    for fault in wrong:
        print(f"failed: {fault}", file=sys.stderr)
    return 0 if all(checks.values()) and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
