"""Pinned models, and untrusted models that have not run on this machine."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgepose.device.config import Config, LoopConfig, ModelConfig
from edgepose.runtime.model import container, isolated_load, registry

from ..conftest import call_edgepose, run_edgepose

ZEROS = "0" * 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "foreign.tflite"
    shutil.copyfile(registry.find_model_file("edgepose-tiny"), path)
    return path


@pytest.fixture
def crashing(tmp_path: Path, model: Path) -> Path:
    """Return a model file with a valid hash whose network crashes the interpreter or is refused by it."""
    manifest, network = container.load(model)
    broken = network[: len(network) // 2] + bytes(len(network) - len(network) // 2)
    digest, size = container.compute_identity(broken)
    path = tmp_path / "crashing.tflite"
    values = manifest.to_json().replace(manifest.flatbuffer_sha256, digest)
    container.write(path, broken, type(manifest).from_json(values))
    assert size == manifest.flatbuffer_bytes
    return path


def camera(*options: str | Path) -> subprocess.CompletedProcess[str]:
    # Use a separate process, because it ends by force if its threads do not end in time.
    return run_edgepose("camera", "--source", "synthetic", "--sink", "-", "--seconds", "1.5", *options)


def test_a_pinned_model_runs_and_another_is_refused(model: Path) -> None:
    digest = container.read(model).flatbuffer_sha256
    assert camera("-m", model, "--sha256", digest.upper()).returncode == 0
    done = camera("-m", model, "--sha256", ZEROS)
    assert done.returncode == 2
    assert done.stderr == f"edgepose camera: {model}: the network has the SHA-256 {digest}; expected {ZEROS}\n"
    assert done.stdout == ""


def test_the_configuration_pins_too(model: Path, tmp_path: Path) -> None:
    settings = tmp_path / "camera.toml"
    digest = container.read(model).flatbuffer_sha256
    settings.write_text(f'[model]\npath = "{model}"\nsha256 = "{ZEROS}"\n')
    assert "expected " + ZEROS in camera("--config", settings).stderr
    settings.write_text(f'[model]\npath = "{model}"\nsha256 = "{digest}"\n')
    assert camera("--config", settings).returncode == 0
    settings.write_text(
        f'[model]\npath = "{model}"\nsha256 = "{digest}"\nwhen_hot = ["{model}"]\nwhen_hot_sha256 = ["{ZEROS}"]\n'
    )
    assert "expected " + ZEROS in camera("--config", settings).stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ModelConfig(sha256="12"), "model.sha256: expected 64 hexadecimal digits, got '12'"),
        (
            ModelConfig(sha256=ZEROS, when_hot=("a",)),
            "model.when_hot_sha256: expected a hash for each of the 1 models in model.when_hot, got 0",
        ),
        (ModelConfig(when_hot=("a", "b"), when_hot_sha256=(ZEROS,)), "each of the 2 models in model.when_hot, got 1"),
        (ModelConfig(when_hot=("a",), when_hot_sha256=("x",)), "model.when_hot_sha256: expected 64"),
        (ModelConfig(when_hot_sha256=(ZEROS,)), "each of the 0 models"),
    ],
)
def test_half_a_pin_is_refused(settings: ModelConfig, message: str) -> None:
    with pytest.raises(ValueError, match="model") as error:
        Config(settings, loop=LoopConfig()).check()
    assert message in str(error.value)


def test_pins_belong_to_their_models() -> None:
    assert ModelConfig().get_pins() == (None,)
    assert ModelConfig(when_hot=("a", "b")).get_pins() == (None, None, None)
    assert ModelConfig(sha256="1", when_hot=("a", "b"), when_hot_sha256=("2", "3")).get_pins() == ("1", "2", "3")


def test_a_network_that_crashes_the_interpreter_does_not_crash_the_loop(crashing: Path) -> None:
    done = camera("-m", crashing)
    assert done.returncode == 2
    assert done.stderr.startswith(f"edgepose camera: {crashing}: ")
    assert done.stderr.count("\n") == 1


def test_eval_probes_and_pins(crashing: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 64, 3), np.uint8))
    labels = tmp_path / "labels.json"
    labels.write_text(
        '{"images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}], "categories": [{"id": 1, "name": '
        '"person"}], "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 900, "bbox": '
        f'[8, 8, 30, 30], "num_keypoints": 17, "keypoints": {[20, 20, 2] * 17}}}]}}'
    )
    words = ("eval", "--images", tmp_path, "--annotations", labels, "-m")
    done = call_edgepose(capfd, *words, crashing)
    assert done.returncode == 2
    assert done.stderr.startswith(f"edgepose eval: {crashing}: ")
    assert f"expected {ZEROS}" in call_edgepose(capfd, *words, model, "--sha256", ZEROS).stderr


def test_the_child_does_not_import_from_the_folder_it_is_started_in(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "numpy.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    monkeypatch.chdir(trap)
    isolated_load.load_in_child_process(model)
    assert not (tmp_path / "executed").exists()


def test_memory_and_processor_time_of_the_child_are_limited(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from edgepose.runtime.model import isolated_load as probe; probe._limit_resources(7);"
        "limits = resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_CORE;"
        "print(*(resource.getrlimit(limit)[0] for limit in limits));"
        "bytearray(7 << 30)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(isolated_load.MAX_MEMORY_BYTES), "7", "0"]
    assert done.stderr.strip().endswith("MemoryError")


def test_texts_of_a_manifest_do_not_control_the_terminal(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest, network = container.load(model)
    nasty = '"source": "\\u001b[2J\\u202egnp' + "x" * 5000 + '"'
    text = manifest.to_json()
    start = text.index('"source": "')
    end = text.index("\n", start)
    changed = text[:start] + nasty + ("," if text[end - 1] == "," else "") + text[end:]
    container.write(model, network, type(manifest).from_json(changed))
    done = call_edgepose(capfd, "info", model)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "\\x1b[2J\\u202egnp" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 2100
    assert hashlib.sha256(network).hexdigest() in done.stdout
