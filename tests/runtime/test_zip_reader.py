"""The ZIP archive at the end of a model file: it defines the bytes of the network, and only these are loaded."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgepose.runtime import ModelError, PoseEstimator
from edgepose.runtime.model import container, isolated_load, registry

from ..conftest import run_edgepose

[TINY] = [path for path in registry.list_packaged_models() if path.stem == registry.DEFAULT_MODEL]


@pytest.fixture(scope="module")
def network() -> bytes:
    return container.load(TINY).network


def append_manifest(network: bytes, entry: str, **changes: Any) -> bytes:
    text = container.read(TINY).to_json()
    document = {**json.loads(text), **changes}
    content = io.BytesIO(network)
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(zipfile.ZipInfo(entry), json.dumps(document))
    return content.getvalue()


def refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    for read in (container.read, container.read_manifest, PoseEstimator):
        with pytest.raises(ModelError, match=message) as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [0, 8, -5, 1, 1 << 20, 1 << 40, True, False, 8.0, "8", None])
def test_a_hash_that_covers_another_length_is_refused(network: bytes, tmp_path: Path, length: Any) -> None:
    covered = network[: max(0, int(length))] if isinstance(length, int) and length < 1 << 30 else b""
    changes = {"flatbuffer_bytes": length, "flatbuffer_sha256": hashlib.sha256(covered).hexdigest()}
    refused(
        tmp_path / "bad.tflite", append_manifest(network, "manifest.json", **changes), "flatbuffer_bytes|has .* bytes"
    )


def test_a_network_that_was_swapped_is_refused(network: bytes, tmp_path: Path) -> None:
    other = container.load(next(path for path in registry.list_packaged_models() if path != TINY)).network
    head = {"flatbuffer_bytes": 8, "flatbuffer_sha256": hashlib.sha256(other[:8]).hexdigest()}
    refused(
        tmp_path / "bad.tflite", append_manifest(other, "manifest.json", **head), "before the manifest|flatbuffer_bytes"
    )


def test_invalid_hashes_are_refused(network: bytes, tmp_path: Path) -> None:
    for value in ("", "0" * 63, "G" * 64, "0" * 64 + "\n"):
        content = append_manifest(network, "manifest.json", flatbuffer_sha256=value)
        refused(tmp_path / "bad.tflite", content, "64 hexadecimal digits")


def test_bytes_around_the_zip_are_refused(tmp_path: Path) -> None:
    whole = TINY.read_bytes()
    path = tmp_path / "bad.tflite"
    refused(path, whole + b"\0", "after its ZIP")
    refused(path, whole + whole[-300:], "damaged|before the manifest")
    refused(path, whole[:-2] + b"\2\0ab", "after its ZIP|end where the file ends")
    offset = container.read(TINY).flatbuffer_bytes
    refused(path, whole[:offset] + bytes(16) + whole[offset:], "damaged|end where the file ends")


def test_two_zips_are_refused(network: bytes, tmp_path: Path) -> None:
    """The second ZIP declares the whole file before it, with another manifest, as the network. It is not loaded."""
    whole = TINY.read_bytes()
    content = io.BytesIO(whole)
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("other.txt", "other")
    (tmp_path / "two.tflite").write_bytes(content.getvalue())
    assert container.load(tmp_path / "two.tflite").network == network


def test_members_that_are_larger_than_declared_are_refused(network: bytes, tmp_path: Path) -> None:
    content = io.BytesIO(network)
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (64 << 20))
    refused(tmp_path / "bomb.tflite", content.getvalue(), "larger than 1048576")
    bomb = bytearray(content.getvalue())
    for marker, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = bomb.index(marker, len(network)) + place
        bomb[start : start + 4] = (1000).to_bytes(4, "little")
    refused(tmp_path / "bomb.tflite", bytes(bomb), "wrong length or checksum")


def test_overlapping_members_are_refused(network: bytes, tmp_path: Path) -> None:
    content = io.BytesIO(network)
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("a", "a" * 100)
        archive.writestr("manifest.json", container.read(TINY).to_json())
    whole = bytearray(content.getvalue())
    second = whole.index(b"PK\1\2", whole.index(b"PK\1\2", len(network)) + 4)
    whole[second + 42 : second + 46] = (len(network) + 4).to_bytes(4, "little")
    refused(tmp_path / "bad.tflite", bytes(whole), "damaged")


def test_only_regular_files_are_accepted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.tflite")
    with pytest.raises(ModelError, match="not a regular file"):
        container.read(tmp_path / "fifo.tflite")


def test_exactly_the_checked_bytes_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced between the check and the load."""
    path = tmp_path / "model.tflite"
    path.write_bytes(TINY.read_bytes())
    load = container.load

    def load_and_swap(path: Path, sha256: str | None = None) -> container.LoadedModel:
        loaded = load(path, sha256)
        path.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 1000)
        return loaded

    monkeypatch.setattr(container, "load", load_and_swap)
    assert PoseEstimator(path).manifest.network


def test_a_pinned_hash_is_checked(tmp_path: Path) -> None:
    right = container.read(TINY).flatbuffer_sha256
    assert PoseEstimator(TINY, sha256=right.upper()).manifest.flatbuffer_sha256 == right
    with pytest.raises(ModelError, match=f"has the SHA-256 {right}; expected 000"):
        PoseEstimator(TINY, sha256="0" * 64)
    for command in (("run", "synthetic:1"), ("info",)):
        good = run_edgepose(*command, "--sha256", right)
        assert good.returncode == 0, good.stderr
        for wrong in ("0" * 64, "short"):
            bad = run_edgepose(*command, "--sha256", wrong)
            assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1), bad.stderr


def test_the_first_load_is_in_a_child(tmp_path: Path, network: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid hash in the manifest does not prove that the network is valid: a damaged one crashes only the child."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    damaged = network[:8] + b"\xff" * 4000 + network[4008:]
    about = {"flatbuffer_bytes": len(damaged), "flatbuffer_sha256": hashlib.sha256(damaged).hexdigest()}
    path = tmp_path / "damaged.tflite"
    path.write_bytes(append_manifest(damaged, "manifest.json", **about))
    result = run_edgepose("run", "-m", path, "synthetic:1")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1), result
    path.write_bytes(TINY.read_bytes())
    assert isolated_load.check_first_load(path) == container.read(path).flatbuffer_sha256
    monkeypatch.setattr(isolated_load, "load_in_child_process", lambda *_, **__: pytest.fail("probed twice"))
    isolated_load.check_first_load(path)
    isolated_load.check_first_load(TINY)


def test_the_child_has_limits(tmp_path: Path, network: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bare.tflite"
    path.write_bytes(network)
    assert isolated_load.load_in_child_process(path).inputs[0].shape == (1, 368, 432, 3)
    with pytest.raises(ModelError, match="did not finish within"):
        isolated_load.load_in_child_process(path, timeout_s=0.01)
