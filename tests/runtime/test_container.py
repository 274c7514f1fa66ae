"""Model files: valid, damaged, and made by other programs. The process must never crash."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgepose.runtime import ModelError, PoseEstimator
from edgepose.runtime.model import container
from edgepose.runtime.model.isolated_load import load_in_child_process

from ..conftest import run_edgepose


def read_flatbuffer_size(path: Path) -> bytes:
    return path.read_bytes()[: container.read(path).flatbuffer_bytes]


def test_unzip_shows_the_manifest(small_model: Path) -> None:
    with zipfile.ZipFile(small_model) as archive:
        assert archive.namelist() == ["manifest.json"]
        assert archive.testzip() is None


def test_writing_is_repeatable(small_model: Path, tmp_path: Path) -> None:
    manifest = container.read(small_model)
    network = read_flatbuffer_size(small_model)
    for name in ("a", "b"):
        container.write(tmp_path / name, network, manifest)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert container.read_flatbuffer(tmp_path / "a") == network
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 5000, -1000, -200, -30, -1])
def test_a_truncated_file_is_refused(small_model: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(small_model.read_bytes()[:size])
    with pytest.raises(ModelError):
        PoseEstimator(path)


def test_any_flipped_bit_is_detected(small_model: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    """Test bits in the whole network and most of the ZIP. Bits that cannot change the result (a date) are ignored."""
    content = bytearray(small_model.read_bytes())
    length = container.read(small_model).flatbuffer_bytes
    path = tmp_path / "flipped.tflite"
    places = [*rng.integers(0, length, 60), *range(0, 64, 5), *range(length, len(content), 3)]
    for place in places:
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            manifest = container.read(path)
        except ModelError as error:
            assert "\n" not in str(error)
        else:
            assert place >= length
            assert manifest == container.read(small_model)
        content[:] = small_model.read_bytes()


def test_random_bytes_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "random.tflite"
    for size in (1, 8, 100, 10_000):
        for head in (b"", b"\x1c\x00\x00\x00TFL3"):
            path.write_bytes(head + rng.bytes(size))
            with pytest.raises(ModelError):
                PoseEstimator(path)


def test_a_damaged_network_without_manifest_crashes_only_the_child(
    small_model: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """The interpreter crashes on such files. Some child processes end with a signal, but this process does not."""
    network = read_flatbuffer_size(small_model)
    path = tmp_path / "bad.tflite"
    refused = 0
    for _ in range(12):
        damaged = bytearray(network)
        for place in rng.integers(8, len(network), 40):
            damaged[place] = int(rng.integers(256))
        # The offset tables are at the end. If they are damaged, the interpreter reads invalid addresses.
        for place in rng.integers(len(network) - 30_000, len(network), 60):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            load_in_child_process(path, timeout_s=60)
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused >= 6


def test_the_error_for_a_missing_manifest_says_what_to_do(small_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.tflite"
    path.write_bytes(read_flatbuffer_size(small_model))
    with pytest.raises(ModelError, match=r"edgepose convert bare\.tflite"):
        PoseEstimator(path)
    result = load_in_child_process(path)
    assert result.inputs[0].shape == (1, 368, 432, 3)
    assert sorted(info.shape[3] for info in result.outputs) == [19, 38]


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ('"width": 432', '"width": 440', "does not match the network: input"),
        ('"dtype": "int8"', '"dtype": "int16"', "does not match the network: input"),
        ('"stride": 8', '"stride": 4', "does not match the network: output"),
    ],
)
def test_a_manifest_that_contradicts_the_network_is_refused(
    small_model: Path, tmp_path: Path, entry: str, value: str, message: str
) -> None:
    path = tmp_path / "wrong.tflite"
    text = container.read(small_model).to_json()
    assert entry in text
    path.write_bytes(read_flatbuffer_size(small_model))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("manifest.json", text.replace(entry, value))
    with pytest.raises(ModelError, match=message):
        PoseEstimator(path)


def test_outputs_named_the_wrong_way_round_are_noticed(small_model: Path, tmp_path: Path) -> None:
    manifest = container.read(small_model)
    path = tmp_path / "swapped.tflite"
    text = manifest.to_json().replace(f'"tensor": "{manifest.pafs.tensor}"', '"tensor": "no such tensor"')
    path.write_bytes(read_flatbuffer_size(small_model))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("manifest.json", text)
    with pytest.raises(ModelError, match="no output 'no such tensor'"):
        PoseEstimator(path)


def test_bad_models_on_the_command_line_are_one_line_and_2(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "text.tflite").write_text("hello, this is no model")
    shutil.copy(small_model, tmp_path / "cut.tflite")
    with (tmp_path / "cut.tflite").open("r+b") as file:
        file.truncate(100_000)
    for name in ("missing.tflite", "empty.tflite", "text.tflite", "cut.tflite", ".", "nosuchname"):
        model = name if name == "nosuchname" else tmp_path / name
        for command in (("run", "-m", model, "synthetic"), ("info", model)):
            result = run_edgepose(*command)
            assert (result.returncode, result.stdout) == (2, ""), result
            assert result.stderr.count("\n") == 1, result.stderr
            assert "Traceback" not in result.stderr
