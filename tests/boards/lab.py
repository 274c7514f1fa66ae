"""Emulated boards for the tests of `edgepose deploy`: root file systems, boards and wheels, built once in build/pi."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import lab_board, lab_root
from .lab_board import PORT, Board

ROOT = Path(__file__).resolve().parent.parent.parent
BASE = "/opt/edgepose"
CONFIG = """\
[camera]
source = "{source}"
width = 320
height = 240
fps = 1

[output]
sinks = ["jsonl:/var/lib/edgepose/poses.jsonl?rotate=1MB&keep=2"]
"""


@dataclass(frozen=True)
class Done:
    """Output and duration of an edgepose command."""

    code: int
    out: str
    err: str
    seconds: float


class Lab:
    """Resources that all boards share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = folder / "key"
        if not self.key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        shutil.rmtree(folder / "session", ignore_errors=True)
        (folder / "session").mkdir()
        self.known_hosts, self.ssh_config = folder / "session/known_hosts", folder / "session/ssh_config"
        self.ssh_config.write_text(
            f"Host 127.0.0.*\n  User pi\n  Port {PORT}\n  IdentityFile {self.key}\n"
            f"  UserKnownHostsFile {self.known_hosts}\n"
        )
        lab_board.emulate(lab_root.emulator(folder / "emulator"))
        self.boards: list[Board] = []

    def board(self, name: str, number: int, suite: str = "bookworm", architecture: str = "arm64") -> Board:
        """Create and boot a new board."""
        root = self.folder / (suite if architecture == "arm64" else f"{suite}-{architecture}")
        lab_root.make(root, suite, self.key.with_suffix(".pub"), architecture)
        folder = self.folder / "boards" / name
        subprocess.run(["umount", "-q", "-l", folder / "root"], check=False)
        shutil.rmtree(folder, ignore_errors=True)
        made = Board(name, number, root, folder, self.key)
        self.boards.append(made)
        made.boot()
        return made

    def end(self) -> None:
        """Turn off and remove all boards."""
        for board in self.boards:
            board.remove()

    def edgepose(self, command: str, *boards: str, more: Sequence[str] = (), timeout_s: float = 400) -> Done:
        """Run an edgepose command for these boards."""
        start = time.monotonic()
        done = subprocess.run(self.words(command, *boards, more=more), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, env=self.environment(), timeout=timeout_s)  # fmt: skip
        print(f"$ edgepose {command} {' '.join(boards)} {' '.join(more)}\n{done.stderr}{done.stdout}")
        return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - start)

    def words(self, command: str, *boards: str, more: Sequence[str] = ()) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", "edgepose.runtime.cli", command, *boards, "-F", str(self.ssh_config), *more]

    def environment(self) -> dict[str, str]:
        """Return the environment variables, with a separate cache that is kept between test runs."""
        return {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")}

    def config(self, source: str = "synthetic:1") -> Path:
        """Write a configuration with 1 FPS, because an emulated board needs one second per frame."""
        path = self.folder / "session" / f"{source.replace(':', '-')}.toml"
        path.write_text(CONFIG.format(source=source))
        return path

    def wheels(self, name: str, change: dict[str, str]) -> Path:
        """Create a folder with the aarch64 wheel in which some files are changed."""
        folder = self.folder / "session" / f"wheels-{name}"
        folder.mkdir()
        original = next((ROOT / "dist").glob("edgepose-*aarch64.whl"))
        with (
            zipfile.ZipFile(original) as old,
            zipfile.ZipFile(folder / original.name, "w", zipfile.ZIP_DEFLATED) as new,
        ):
            for entry in old.infolist():
                if not entry.filename.endswith("RECORD"):
                    new.writestr(entry, change.get(entry.filename, "").encode() or old.read(entry))
                else:
                    # pip checks the names, but not the hashes, of the files that it unpacks.
                    new.writestr(entry, old.read(entry))
        return folder


def state(board: Board) -> dict[str, Any]:
    """Return the state of the service according to systemd, and the current release."""
    words = (
        f"systemctl show edgepose -p ActiveState -p MainPID -p NRestarts; readlink {BASE}/current; ls {BASE}/releases"
    )
    lines = board.ssh(words, check=False).splitlines()
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    others = [line for line in lines if "=" not in line]
    current = next((line.rpartition("/")[2] for line in others if "/" in line), "")
    return {**pairs, "current": current, "releases": [line for line in others if "/" not in line]}


def wait_for(board: Board, wanted: str = "active", timeout_s: float = 90) -> dict[str, Any]:
    """Wait until the service is in this state."""
    end = time.monotonic() + timeout_s
    while True:
        seen = state(board)
        if seen["ActiveState"] == wanted or time.monotonic() > end:
            assert seen["ActiveState"] == wanted, f"{seen}: {board.ssh('sudo journalctl -u edgepose -n 20 --no-pager')}"
            return seen
        time.sleep(1)


def rows(done: Done) -> dict[str, dict[str, Any]]:
    """Return the output of `status --json` by board."""
    return {row["board"]: row for row in json.loads(done.out)}
