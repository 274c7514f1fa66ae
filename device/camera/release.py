"""`python -m edgepose.device.camera.release RELEASE`: what systemd starts on a board, the loop of a release folder."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from ...runtime import schema
from ...runtime.errors import InputError
from ...runtime.io.read_file import read_text

NAME = "release.json"


@dataclass(frozen=True)
class Release:
    """What a release folder holds. File names are relative to it."""

    id: str
    version: str
    """Of edgepose."""
    network: str
    precision: str
    model_sha256: str
    content_sha256: str
    """Of everything that makes the release what it is."""
    model: str = "model.tflite"
    when_hot: tuple[str, ...] = ()
    config: str = "camera.toml"
    environment: str = ""
    secrets: str = ""
    """A random id of the secrets that were last given; it tells nothing about them."""
    salt: str = ""
    """Of the hash of the configuration, which can hold credentials."""
    memory_mb: int = 0
    """What the loop with this model needs, roughly."""


def read(folder: Path) -> Release:
    """The release of a folder. Raises InputError where it is none."""
    path = folder / NAME
    try:
        return schema.build(Release, json.loads(read_text(path)))
    except OSError as error:
        raise InputError(f"{path}: no release here: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: damaged: {error}") from None


def arguments(folder: Path) -> list[str]:
    """The command line of a release's loop."""
    release = read(folder)
    words = ["camera", "-m", str(folder / release.model), "--config", str(folder / release.config)]
    for name in release.when_hot:
        words += ["--when-hot", str(folder / name)]
    return words


def main() -> int:
    """Runs the loop until it is told to stop."""
    from ...runtime.cli.main import main as run_command

    if len(sys.argv) != 2:
        print("usage: python -m edgepose.device.camera.release RELEASE", file=sys.stderr)
        return 2
    try:
        words = arguments(Path(sys.argv[1]).resolve())
    except InputError as error:
        print(f"edgepose: {error}", file=sys.stderr)
        return 2
    return run_command(words)


if __name__ == "__main__":
    raise SystemExit(main())
