"""`edgepose camera` and `edgepose run` with the packaged model: names, placeholders, `~`, unreachable brokers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from edgepose.device.cli import camera as camera_command
from edgepose.device.config import Config, OutputConfig
from edgepose.runtime.io import naming

from ..conftest import HANG_S, measure_slowness

pytestmark = pytest.mark.once


def edgepose(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "EDGEPOSE_NAME": "", **variables}
    command = [sys.executable, "-m", "edgepose.runtime.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=HANG_S, check=False, cwd=folder, env=environment
    )


def run_camera(
    folder: Path, *arguments: str, seconds: float | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    seconds = seconds or 2 * measure_slowness()
    return edgepose(folder, "camera", "--source", "synthetic:1", "--seconds", f"{seconds:.1f}", *arguments, **variables)


def test_the_camera_writes_its_name_and_source(tmp_path: Path) -> None:
    done = run_camera(tmp_path, "--name", "Küche", "--sink", "jsonl:{name}-{source}.jsonl", EDGEPOSE_NAME="other")
    assert done.returncode == 0, done.stderr
    first = json.loads((tmp_path / "kueche-synthetic-1.jsonl").read_text().splitlines()[0])
    assert (first["version"], first["device"]) == (2, "Küche")
    assert first["time"] is None or datetime.fromisoformat(first["time"]).tzinfo is not None


def test_the_name_comes_from_the_environment_and_paths_from_home(tmp_path: Path) -> None:
    (tmp_path / "camera.toml").write_text('[output]\nsinks = ["jsonl:~/a?b#{name}.jsonl"]\nrecord = "~/{name}.avi"\n')
    done = run_camera(tmp_path, "--config", "~/camera.toml", "--privacy", "blur", EDGEPOSE_NAME="Front door")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "a?b#front-door.jsonl").read_text().splitlines()[0])["device"] == "Front door"
    assert (tmp_path / "front-door.avi").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--sink", "mqtt://h/{nmae}"], "unknown placeholder {nmae}; did you mean {name}?"),
        (["--record", "{surce}.avi", "--privacy", "blur"], "unknown placeholder {surce}; did you mean {source}?"),
        (["--sink", "-", "--name", "a\nb"], "output.name: expected 1 to 64 printable characters, got 'a\\nb'"),
        (["--sink", "-", "--name", "{name}"], "name: unknown placeholder {name}; did you mean {hostname}?"),
    ],
)
def test_wrong_names_are_one_line(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = run_camera(tmp_path, *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert expected in done.stderr


def test_a_dead_broker_delays_neither_start_nor_end_of_the_camera(tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    slowness = measure_slowness()
    start = time.monotonic()
    without = run_camera(tmp_path, "--sink", "jsonl:x.jsonl", seconds=2 * slowness)
    middle = time.monotonic()
    done = run_camera(tmp_path, "--sink", "jsonl:y.jsonl", "--sink", "mqtt://127.0.0.1:9/x", seconds=2 * slowness)
    end = time.monotonic()
    assert (without.returncode, done.returncode) == (0, 0), done.stderr
    # The machine can become busy in between; a broker that is waited for would cost its timeout of many seconds.
    assert end - middle < middle - start + 5 * max(slowness, measure_slowness())
    assert "mqtt://127.0.0.1:9 cannot be reached: Connection refused; trying again in the background" in done.stderr


def test_run_writes_the_host_name_and_no_time(tmp_path: Path) -> None:
    line = json.loads(edgepose(tmp_path, "run", "synthetic:1").stdout)
    assert (line["device"], line["time"], line["source"]) == (naming.get_host_name(), None, "synthetic:1")


def test_home_folders_are_expanded_wherever_a_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    options = camera_command.command.parse_options(
        ["-m", "~/a.tflite", "--when-hot", "~/b.tflite", "--source", "~/clip.mp4", "--sink", "-"]
    )
    settings = camera_command._merge_settings(options)
    assert settings.model.path == "/home/somebody/a.tflite"
    assert settings.model.when_hot == ("/home/somebody/b.tflite",)
    assert settings.camera.source == "/home/somebody/clip.mp4"


@pytest.mark.parametrize("name", ["", "Küche", "Front door", "玄関", "{hostname} 2"])
def test_any_printable_text_is_a_name(name: str) -> None:
    Config(output=OutputConfig(name=name)).check()
