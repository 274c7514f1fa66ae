"""Start of the camera loop of a release folder by systemd: `python -m edgepose.device.camera.release RELEASE`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...runtime import schema
from ...runtime.errors import InputError
from ...runtime.io.messages import show_warning
from ...runtime.io.read_file import read_text

RELEASE_FILE_NAME = "release.json"
VideoCodec = Literal["", "h264", "mpeg4"]
"""Codec of clips and recordings; "" if the configuration has none."""


@dataclass(frozen=True)
class Release:
    """Content of a release folder (`release.json`). File names are relative to the folder."""

    id: str
    version: str
    """Version of edgepose."""
    network: str
    precision: str
    model_sha256: str
    content_sha256: str
    """Hash over all content of the release."""
    model: str = "model.tflite"
    when_hot: tuple[str, ...] = ()
    config: str = "camera.toml"
    environment: str = ""
    secrets: str = ""
    """Random id of the secrets that were given last; it is not derived from them."""
    salt: str = ""
    """Salt for the hash of the configuration, because the configuration can contain credentials."""
    memory_mb: int = 0
    """Approximate memory that the loop needs with this model."""
    video: VideoCodec = ""
    """Codec of clips and recordings on this board."""


def read(folder: Path) -> Release:
    """Read the description of a release from its folder.

    Raises:
        InputError: The folder has no release file, or the file is damaged.
    """
    path = folder / RELEASE_FILE_NAME
    try:
        return schema.build(Release, json.loads(read_text(path)))
    except OSError as error:
        raise InputError(f"{path}: cannot read the release: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: the release file is damaged: {error}") from None


def build_arguments(folder: Path) -> list[str]:
    """Return the arguments of `edgepose` that run the camera loop of a release."""
    release = read(folder)
    words = ["camera", "-m", str(folder / release.model), "--config", str(folder / release.config)]
    for name in release.when_hot:
        words += ["--when-hot", str(folder / name)]
    return words


def main() -> int:
    """Run the camera loop until it is stopped.

    Returns:
        Exit code; 2 if the release cannot be read.
    """
    from ...runtime.cli.main import main as run_command

    if len(sys.argv) != 2:
        print("usage: python -m edgepose.device.camera.release RELEASE", file=sys.stderr)
        return 2
    try:
        words = build_arguments(Path(sys.argv[1]).resolve())
    except InputError as error:
        show_warning(str(error))
        return 2
    return run_command(words)


if __name__ == "__main__":
    raise SystemExit(main())
