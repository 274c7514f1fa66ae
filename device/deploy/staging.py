"""A release as it will lie on the board: model, models for heat, settings, and what it is."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes, token_hex

from ...runtime import self_check
from ...runtime.errors import InputError, ModelError
from ...runtime.io.read_file import read_text
from ...runtime.model import container, isolated_load
from ...runtime.model.registry import find_tflite
from ...runtime.version import version
from .. import config
from ..camera.release import NAME, Release
from .environment import plain

DEFAULT_CONFIG = """\
# No settings were given to `edgepose deploy`: poses of the camera to a file that is kept small.
[camera]
source = "picamera2"

[output]
sinks = ["jsonl:/var/lib/edgepose/poses.jsonl?rotate=10MB&keep=3&fsync=second"]
"""
_SECRET = re.compile(r"EDGEPOSE_[A-Z_]+")


@dataclass(frozen=True)
class ReleaseBundle:
    """What the user wants on every board, checked; files lie in `folder`."""

    folder: Path
    settings: config.Config
    release: Release
    """Without id, environment and the hash of the configuration, which differ from board to board."""
    secrets: str
    """Lines for systemd's EnvironmentFile; empty where none were given."""

    @property
    def source(self) -> str:
        """Where frames come from."""
        return self.settings.camera.source

    def for_board(self, environment: str, there: Release | None = None, secrets_id: str = "") -> Release:
        """The release with its name: when it was made and what it holds.

        `there`: the board's present one, whose secrets stay if none are given. `secrets_id`: of those that are given.
        """
        own = self.release
        secrets = secrets_id or (there.secrets if there else "")
        # release.json can be read by everybody on the board, the configuration with its credentials cannot.
        salt = there.salt if there and there.salt else token_hex(16)
        text = _slow((self.folder / own.config).read_text(encoding="utf-8"), salt.encode())
        digest = hashlib.sha256(f"{own.content_sha256}\n{environment}\n{text}".encode()).hexdigest()
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        return Release(
            **{
                **asdict(own),
                "id": f"{now}-{digest[:8]}",
                "content_sha256": digest,
                "environment": environment,
                "secrets": secrets,
                "salt": salt,
            }
        )

    def archive(self, release: Release, path: Path) -> None:
        """The release as a `.tar`, with its link to the environment."""
        with tarfile.open(path, "w") as tar:
            for name in (release.model, *release.when_hot, release.config):
                tar.add(self.folder / name, arcname=name, filter=plain)
            about = self.folder / NAME
            about.write_text(json.dumps(asdict(release), indent=1) + "\n")
            tar.add(about, arcname=NAME, filter=plain)
            link = tarfile.TarInfo("venv")
            link.type, link.linkname = tarfile.SYMTYPE, f"../../environments/{release.environment}"
            tar.addfile(link)


def prepare(model: str | None, settings: Path | None, secrets: Sequence[str], folder: Path) -> ReleaseBundle:
    """Gathers and checks everything on the workstation: what cannot work there will not work on a board.

    `secrets`: names of environment variables that the service shall have. Raises EdgePoseError or ValueError.
    """
    try:
        # Once: a pipe of the shell can be read only once.
        text = DEFAULT_CONFIG if settings is None else read_text(settings)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{settings}: cannot read the configuration: {reason}") from None
    (folder / "camera.toml").write_text(text, encoding="utf-8")
    wanted = config.parse(text, settings or folder / "camera.toml")
    wanted.check()
    if not wanted.output.sinks and not wanted.output.record:
        raise InputError(f"{settings}: expected at least one sink, or nobody would see the poses: [output] sinks =")
    names = [model or wanted.model.path, *wanted.model.when_hot]
    stored = ["model.tflite", *(f"hot-{number}.tflite" for number in range(1, len(names)))]
    for name, file, pin in zip(names, stored, wanted.model.pins(), strict=True):
        _copy(find_tflite(name), folder / file, pin)
    manifest = container.read_manifest(folder / stored[0])
    digests = [hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in stored]
    lines = _secrets(secrets)
    content = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    release = Release(
        id="", version=version(), network=manifest.network, precision=manifest.precision, model_sha256=digests[0],
        content_sha256=content, when_hot=tuple(stored[1:]),
    )  # fmt: skip
    (folder / NAME).write_text(json.dumps(asdict(release)))
    memory_mb = _tried(folder)
    return ReleaseBundle(folder, wanted, Release(**{**asdict(release), "memory_mb": memory_mb}), lines)


def hash_secrets(lines: str, known: str = "") -> tuple[str, str]:
    """Return the id of secrets and the contents of the file that root keeps on the board.

    The id is random and tells nothing about the secrets; it stays as long as they do. The file has a slow hash with a
    random salt, so that a board whose secrets have not changed can be told from others.

    Args:
        lines: The secrets.
        known: Contents of the board's file; empty or damaged: the secrets count as new.
    """
    try:
        there = json.loads(known)
        salt, name = bytes.fromhex(there["salt"]), str(there["id"])
        if re.fullmatch("[0-9a-f]{32}", name) and 16 <= len(salt) <= 64 and _slow(lines, salt) == there["hash"]:
            return name, known
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    name, salt = token_hex(16), token_bytes(16)
    return name, json.dumps({"id": name, "salt": salt.hex(), "hash": _slow(lines, salt)}) + "\n"


def _slow(lines: str, salt: bytes) -> str:
    return hashlib.scrypt(lines.encode(), salt=salt, n=1 << 14, r=8, p=1).hex()


def _copy(source: Path, target: Path, sha256: str | None) -> None:
    """Copy a model that may be loaded here. Raises ModelError for one that may not, or that finds nobody."""
    digest = isolated_load.check_model(source, sha256)
    manifest = container.read(source, digest)
    if manifest.untrained:
        raise ModelError(
            f"{source}: its weights are random, made with --untrained for measuring speed; it finds nobody"
        )
    shutil.copyfile(source, target)
    container.read(target, digest)
    if manifest.golden is None:
        self_check.record(target)


def _secrets(names: Sequence[str]) -> str:
    lines = []
    for name in names:
        if not _SECRET.fullmatch(name):
            raise InputError(
                f"--secret {name}: expected the name of a variable such as EDGEPOSE_HTTP_TOKEN, never its value"
            )
        value = os.environ.get(name)
        if not value:
            raise InputError(f"--secret {name}: this variable is not set here: read -rs {name}; export {name}")
        if re.search(r"[\n\r\0\"\\]", value):
            raise InputError(f"--secret {name}: line ends, quotes and backslashes cannot be used in it")
        lines.append(f'{name}="{value}"\n')
    return "".join(lines)


def _tried(folder: Path) -> int:
    """Runs the board's self-test here; gives the megabytes it took. Raises ModelError where it fails."""
    words = [sys.executable, "-P", "-m", "edgepose.device.camera.self_test", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip()).splitlines()
        raise ModelError(f"the model fails on this machine already: {said[-1] if said else done.returncode}")
    return int(done.stdout.split()[-2]) // 1024  # "... 90000 kB"
