"""Atomic file replacement; devices, FIFOs and sockets are never replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgepose.runtime.errors import OutputError
from edgepose.runtime.io import atomic

from ..conftest import HANG_S


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """Create a device node like /dev/null, or skip the test if this user must not create one."""
    path = tmp_path / "null"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.open("wb").close()
    except OSError:
        pytest.skip("needs the permission to make device nodes")
    return path


def test_a_device_node_is_written_to_and_stays(device: Path) -> None:
    before = device.stat()
    atomic.write_text(device, "poses")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert (device.stat().st_ino, device.stat().st_mode) == (before.st_ino, before.st_mode)
    assert list(device.parent.iterdir()) == [device]


def test_dev_null_is_never_replaced() -> None:
    assert atomic.find_target(Path("/dev/null")) is None
    assert atomic.find_target(Path("/dev/stdout")) is None
    assert atomic.find_target(Path("/proc/self/fd/1")) is None
    assert atomic.find_target(Path("/dev/fd/1")) is None


def test_a_link_to_a_device_is_written_to(device: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(device)
    atomic.write_text(link, "poses")
    assert link.is_symlink()
    assert stat.S_ISCHR(device.stat().st_mode)


def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_text()))
    reader.start()
    if not fifo.is_fifo():
        pytest.fail("the FIFO is gone")
    atomic.write_text(fifo, "poses")
    still_a_fifo = fifo.is_fifo()
    if not still_a_fifo:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    reader.join(10)
    assert still_a_fifo
    assert found == ["poses"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
def test_an_open_file_is_written_to(tmp_path: Path, name: str) -> None:
    """If a stream is redirected to a regular file, this file is written and not replaced."""
    code = (
        f"from edgepose.runtime.io import atomic; from pathlib import Path; atomic.write_text(Path({name!r}), 'poses')"
    )
    out = tmp_path / "out"
    with out.open("wb") as file:
        before = os.fstat(file.fileno()).st_ino
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True, timeout=HANG_S)
    assert (out.read_text(), out.stat().st_ino) == ("poses", before)
    assert list(tmp_path.iterdir()) == [out]
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=HANG_S)
    assert piped.stdout == b"poses"


def test_a_socket_is_one_line(tmp_path: Path) -> None:
    import socket

    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(OutputError, match="cannot be written"):
            atomic.write_text(path, "poses")
        assert path.is_socket()


def test_the_target_of_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder/target"
    target.write_text("old")
    (tmp_path / "link").symlink_to("folder/target")
    atomic.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"
    assert list((tmp_path / "folder").iterdir()) == [target]
    (tmp_path / "dangling").symlink_to("folder/later")
    atomic.write_text(tmp_path / "dangling", "new")
    assert (tmp_path / "folder/later").read_text() == "new"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match="loop"):
        atomic.write_text(tmp_path / "loop", "new")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_the_permissions_of_an_existing_file_are_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(mode)
    atomic.write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_text() == "new"


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    atomic.write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), atomic.replace_file(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
