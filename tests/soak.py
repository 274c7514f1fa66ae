"""`make soak`: the camera loop for minutes, with everything that goes wrong in months.

The camera is lost 200 times, the broker restarted 50 times, 50 watchers of the page vanish in the middle. At the end:
no more memory, threads or descriptors than after the warm-up, and every frame accounted for. `--minutes 10`.
"""

from __future__ import annotations

import argparse
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

from edgepose.device.choose_sinks import open_sinks
from edgepose.device.config import LoopConfig
from edgepose.device.loop import Loop
from edgepose.device.source import SyntheticCamera
from edgepose.device.stats import Stats
from edgepose.runtime import PoseEstimator
from edgepose.runtime.errors import InputError
from edgepose.runtime.types import Frame

LOSSES, RESTARTS, WATCHERS = 200, 50, 50
_WARM_UP = 0.15
"""Share of the time after which memory is measured first."""
_MOST_GROWTH_MB = 2.0


class Unreliable(SyntheticCamera):
    """Is lost after `seconds`; counts what it has delivered."""

    delivered = 0

    def __init__(self, seconds: float) -> None:
        super().__init__(3, 640, 480, 30.0, painted=4)
        self._until = time.monotonic() + seconds

    def frames(self) -> Iterator[Frame]:
        for frame in super().frames():
            if time.monotonic() > self._until:
                raise InputError("the cable is out")
            Unreliable.delivered += 1
            yield frame


class Disturber:
    """Restarts the broker and lets watchers of the page vanish, until told to stop."""

    def __init__(self, folder: Path, mqtt_port: int, http_port: int, minutes: float) -> None:
        self.restarts = self.watchers = 0
        self._mqtt_port, self._http_port, self._pause = mqtt_port, http_port, minutes * 60 / RESTARTS
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text(f"listener {mqtt_port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        self._stop = threading.Event()
        self._broker = self._start()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the broker for good."""
        self._stop.set()
        self._thread.join()
        self._broker.kill()
        self._broker.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(self._settings)]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def _work(self) -> None:
        while not self._stop.wait(self._pause / 2):
            with socket.create_connection(("127.0.0.1", self._http_port), 5) as link:
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


def _state() -> tuple[float, int, int]:
    """Resident memory in MB, threads, open descriptors."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        threading.active_count(),
        len(list(Path("/proc/self/fd").iterdir())),
    )


def _port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


def main() -> int:
    """0 where everything held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    logging.getLogger("edgepose").setLevel(logging.ERROR)
    seconds = arguments.minutes * 60
    states: list[tuple[float, int, int]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mqtt_port, http_port = _port(), _port()
        stats = Stats("soak")
        wanted = [
            f"jsonl:{folder}/poses.jsonl?rotate=1MB&keep=2", f"mqtt://127.0.0.1:{mqtt_port}/soak",
            f"http://127.0.0.1:{http_port}", "udp://127.0.0.1:9",
        ]  # fmt: skip
        sinks = open_sinks(wanted, stats, "blur", name="first")
        sinks += open_sinks([f"mqtt://127.0.0.1:{mqtt_port}"], stats, None, name="second board")
        stats.sinks = list(sinks)
        estimator = PoseEstimator(arguments.model, threads=1)
        # Reopening takes the loop half a second where the camera is there again at once.
        life = max(0.05, seconds / LOSSES - 0.1)
        loop = Loop(lambda: Unreliable(life), [lambda: estimator], sinks, LoopConfig(), stats)
        disturber = Disturber(folder, mqtt_port, http_port, arguments.minutes)

        def look() -> None:
            time.sleep(seconds * _WARM_UP)
            while stats.state != "stopping":
                states.append(_state())
                time.sleep(seconds / 100)

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        loop.run(seconds)
        watcher.join()
        disturber.stop()
    return _verdict(states, stats, disturber)


def _verdict(states: list[tuple[float, int, int]], stats: Stats, disturber: Disturber) -> int:
    tenth = max(1, len(states) // 10)
    first, last = states[:tenth], states[-tenth:]
    growth = median(state[0] for state in last) - median(state[0] for state in first)
    in_work = Unreliable.delivered - stats.processed - stats.dropped - stats.skipped
    print(f"frames     {Unreliable.delivered} delivered, {stats.processed} processed, {stats.dropped} dropped")
    print(f"           {in_work} in work when a camera was lost, of {stats.camera_losses} losses")
    print(f"broker     {disturber.restarts} restarts; page: {disturber.watchers} watchers vanished")
    print(f"memory     {first[0][0]:.1f} MB after warming up, {last[-1][0]:.1f} MB at the end: {growth:+.2f} MB")
    print("           over time: " + " ".join(f"{state[0]:.1f}" for state in states[::tenth]))
    threads, handles = (max(s[i] for s in last) - max(s[i] for s in first) for i in (1, 2))
    print(f"threads    {threads:+d}; descriptors {handles:+d}")
    for sink in stats.sinks:
        print(f"sink       {sink.name}: {sink.counts()}")
    well = {
        "memory": growth < _MOST_GROWTH_MB, "threads": threads <= 0, "descriptors": handles <= 2,
        # The pipeline holds at most four frames when its camera is lost.
        "frames": 0 <= in_work <= 4 * (stats.camera_losses + 1),
    }  # fmt: skip
    for what, held in well.items():
        if not held:
            print(f"failed: {what}", file=sys.stderr)
    return 0 if all(well.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
