"""Builder of releases: model, models for a hot board, configuration, and the description `release.json`."""

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
from ...runtime.model.registry import find_model_file
from ...runtime.version import get_version
from .. import config
from ..camera.release import RELEASE_FILE_NAME, Release, VideoCodec
from ..sources.names import parse_sources
from .board_settings import check_settings
from .environment import normalize_entry

DEFAULT_CONFIG = """\
# Default of `edgepose deploy` without --config: writes the poses of the camera to a file that is rotated.
[camera]
source = "picamera2"

[output]
sinks = ["jsonl:/var/lib/edgepose/poses.jsonl?rotate=10MB&keep=3&fsync=second"]
"""
_SECRET_NAME = re.compile(r"EDGEPOSE_[A-Z_]+")


@dataclass(frozen=True)
class ReleaseBundle:
    """Checked contents of a release for all boards. The files are in `folder`."""

    folder: Path
    settings: config.Config
    release: Release
    """Description without id, environment and hash of the configuration, which differ between boards."""
    secrets: str
    """Lines for the EnvironmentFile of systemd; empty if no secrets were given."""

    @property
    def source(self) -> str:
        """Camera source of the configuration; of several, the one that needs packages of the system."""
        camera = self.settings.camera
        sources = list(parse_sources(camera.sources).values()) or [camera.source]
        return next((source for source in sources if source.startswith("picamera2")), sources[0])

    def create_release(
        self, environment: str, present: Release | None = None, secrets_id: str = "", video: VideoCodec = ""
    ) -> Release:
        """Create the description of the release for one board. Its id is the time and a hash of the contents.

        Args:
            environment: Id of the environment.
            present: Present release of the board; its secrets and its salt are kept.
            secrets_id: Id of new secrets; empty keeps those of `present`.
            video: Codec of clips and recordings on this board.
        """
        template = self.release
        secrets = secrets_id or (present.secrets if present else "")
        # All users of the board can read release.json, so it must not reveal the configuration with its credentials.
        salt = present.salt if present and present.salt else token_hex(16)
        text = _hash_slowly((self.folder / template.config).read_text(encoding="utf-8"), salt.encode())
        digest = hashlib.sha256(f"{template.content_sha256}\n{environment}\n{text}".encode()).hexdigest()
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        return Release(
            **{
                **asdict(template),
                "id": f"{now}-{digest[:8]}",
                "content_sha256": digest,
                "environment": environment,
                "secrets": secrets,
                "salt": salt,
                "video": video,
            }
        )

    def write_archive(self, release: Release, path: Path) -> None:
        """Write the release as a `.tar` with a link to its environment."""
        with tarfile.open(path, "w") as tar:
            for name in (release.model, *release.when_hot, release.config):
                tar.add(self.folder / name, arcname=name, filter=normalize_entry)
            description_file = self.folder / RELEASE_FILE_NAME
            description_file.write_text(json.dumps(asdict(release), indent=1) + "\n")
            tar.add(description_file, arcname=RELEASE_FILE_NAME, filter=normalize_entry)
            link = tarfile.TarInfo("venv")
            link.type, link.linkname = tarfile.SYMTYPE, f"../../environments/{release.environment}"
            tar.addfile(link)


def prepare_bundle(model: str | None, config_path: Path | None, secrets: Sequence[str], folder: Path) -> ReleaseBundle:
    """Collect the files of a release, check them and run the self-test on the workstation.

    Args:
        model: Path or registry name of the model; None uses the one of the configuration.
        config_path: Configuration file; None uses the default configuration.
        secrets: Names of environment variables that the service gets.
        folder: Folder for the files.

    Raises:
        EdgePoseError: A file cannot be read or used, a secret is missing, or the self-test fails.
        ValueError: A setting is out of range.
    """
    try:
        # Read only once: the file can be a pipe of the shell.
        text = DEFAULT_CONFIG if config_path is None else read_text(config_path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{config_path}: cannot read the configuration: {reason}") from None
    (folder / "camera.toml").write_text(text, encoding="utf-8")
    parsed = config.parse(text, config_path or folder / "camera.toml")
    parsed.check()
    if not parsed.has_output:
        raise InputError(
            f"{config_path}: the poses are not written anywhere; set at least one sink: [output] sinks = [...]"
        )
    names = [model or parsed.model.path, *parsed.model.when_hot]
    stored = ["model.tflite", *(f"hot-{number}.tflite" for number in range(1, len(names)))]
    for name, file, pin in zip(names, stored, parsed.model.get_pins(), strict=True):
        _copy_model(find_model_file(name), folder / file, pin)
    manifest = container.read_manifest(folder / stored[0])
    check_settings(parsed, manifest.skeleton_table, text, config_path or folder / "camera.toml")
    digests = [hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in stored]
    lines = _read_secrets(secrets)
    content = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    release = Release(
        id="", version=get_version(), network=manifest.network, precision=manifest.precision, model_sha256=digests[0],
        content_sha256=content, when_hot=tuple(stored[1:]),
    )  # fmt: skip
    (folder / RELEASE_FILE_NAME).write_text(json.dumps(asdict(release)))
    memory_mb = _run_self_test(folder)
    return ReleaseBundle(folder, parsed, Release(**{**asdict(release), "memory_mb": memory_mb}), lines)


def hash_secrets(lines: str, known: str = "") -> tuple[str, str]:
    """Return the id of the secrets and the contents of their hash file, which only root can read on the board.

    The id is random, so it does not reveal the secrets. It is kept as long as the secrets do not change. The file has a
    slow hash with a random salt, to detect if the secrets have changed.

    Args:
        lines: The secrets.
        known: Contents of the hash file on the board. If it is empty or damaged, the secrets count as new.
    """
    try:
        stored = json.loads(known)
        salt, name = bytes.fromhex(stored["salt"]), str(stored["id"])
        if re.fullmatch("[0-9a-f]{32}", name) and 16 <= len(salt) <= 64 and _hash_slowly(lines, salt) == stored["hash"]:
            return name, known
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    name, salt = token_hex(16), token_bytes(16)
    return name, json.dumps({"id": name, "salt": salt.hex(), "hash": _hash_slowly(lines, salt)}) + "\n"


def _hash_slowly(lines: str, salt: bytes) -> str:
    return hashlib.scrypt(lines.encode(), salt=salt, n=1 << 14, r=8, p=1).hex()


def _copy_model(source: Path, target: Path, sha256: str | None) -> None:
    """Check and copy a model. Raises ModelError if it may not be loaded, or if its weights are random."""
    digest = isolated_load.check_model(source, sha256)
    manifest = container.read(source, digest)
    if manifest.untrained:
        raise ModelError(
            f"{source}: the model has random weights (convert --untrained), which are only for speed measurements; "
            "use a trained model"
        )
    shutil.copyfile(source, target)
    container.read(target, digest)
    if manifest.golden is None:
        self_check.record(target)


def _read_secrets(names: Sequence[str]) -> str:
    """Return environment variables as lines for an EnvironmentFile. Raises InputError if one cannot be used."""
    lines = []
    for name in names:
        if not _SECRET_NAME.fullmatch(name):
            raise InputError(
                f"--secret {name}: expected the name of a variable such as EDGEPOSE_HTTP_TOKEN, never its value"
            )
        value = os.environ.get(name)
        if not value:
            raise InputError(
                f"--secret {name}: this variable is not set here; set it with: read -rs {name}; export {name}"
            )
        if re.search(r"[\n\r\0\"\\]", value):
            raise InputError(f"--secret {name}: the value must not contain line ends, quotes or backslashes")
        lines.append(f'{name}="{value}"\n')
    return "".join(lines)


def _run_self_test(folder: Path) -> int:
    """Run the self-test of the board here; return its peak memory in MB. Raises ModelError if it fails."""
    words = [sys.executable, "-P", "-m", "edgepose.device.camera.self_test", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        output_lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
        raise ModelError(
            f"the self-test of the model fails on this machine: {output_lines[-1] if output_lines else done.returncode}"
        )
    return int(done.stdout.split()[-2]) // 1024  # "... 90000 kB"
