"""The camera loop's settings: one commented TOML file, and the command line over it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..runtime import schema
from ..runtime.errors import InputError
from ..runtime.io import naming
from ..runtime.io.read_file import read_text
from ..runtime.model import container
from .sinks.privacy import Privacy


@dataclass(frozen=True)
class ModelConfig:
    """[model]"""

    path: str = ""
    threads: int | None = None
    sha256: str = ""
    when_hot: tuple[str, ...] = ()
    when_hot_sha256: tuple[str, ...] = ()

    def pins(self) -> tuple[str | None, ...]:
        """Return the SHA-256 that each network must have, `path` first and then `when_hot`; None for any."""
        others = self.when_hot_sha256 if any(self.when_hot_sha256) else ("",) * len(self.when_hot)
        return tuple(pin or None for pin in (self.sha256, *others))


@dataclass(frozen=True)
class CameraConfig:
    """[camera]"""

    source: str = "picamera2"
    width: int = 640
    height: int = 480
    fps: float | None = None
    rotate: bool = False
    loop: bool = False
    real_time: bool = True
    controls: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoopConfig:
    """[loop]"""

    max_fps: float | None = None
    every_nth: int = 1
    track: bool = True
    smooth: bool = True
    hot_c: float = 80.0
    cool_c: float = 70.0


@dataclass(frozen=True)
class OutputConfig:
    """[output]"""

    name: str = ""
    sinks: tuple[str, ...] = ()
    privacy: Privacy | None = None
    record: str = ""
    insecure: bool = False


@dataclass(frozen=True)
class Config:
    """All settings."""

    model: ModelConfig = ModelConfig()
    camera: CameraConfig = CameraConfig()
    loop: LoopConfig = LoopConfig()
    output: OutputConfig = OutputConfig()

    def check(self) -> None:
        """Raises ValueError for a setting that makes no sense."""
        camera, loop = self.camera, self.loop
        checks = {
            "camera.width and height: expected 16 to 8192": 16 <= camera.width <= 8192 and 16 <= camera.height <= 8192,
            "camera.fps: expected more than 0 and at most 1000": camera.fps is None or 0 < camera.fps <= 1000,
            "model.threads: expected 1 to 64": self.model.threads is None or 1 <= self.model.threads <= 64,
            "loop.max_fps: expected more than 0": loop.max_fps is None or loop.max_fps > 0,
            "loop.every_nth: expected 1 or more": loop.every_nth >= 1,
            "loop.smooth: needs loop.track": loop.track or not loop.smooth,
            "loop.cool_c: expected less than loop.hot_c": loop.cool_c < loop.hot_c,
            f"output.name: expected 1 to {naming.MAX_NAME_LENGTH} printable characters, got {self.output.name[:80]!r}":
                not self.output.name or naming.is_valid_name(self.output.name),
        }  # fmt: skip
        for message, well in checks.items():
            if not well:
                raise ValueError(message)
        self._check_pins()

    def _check_pins(self) -> None:
        """Raise ValueError for hashes that are none, or where only some of the models are pinned."""
        for name, pins in (("sha256", (self.model.sha256,)), ("when_hot_sha256", self.model.when_hot_sha256)):
            for pin in filter(None, pins):
                try:
                    container.check_sha256(pin)
                except ValueError as error:
                    raise ValueError(f"model.{name}: {str(error).removeprefix('sha256: ')}") from None
        wanted = len(self.model.when_hot)
        pinned = len([pin for pin in self.model.when_hot_sha256 if pin])
        complete = pinned == len(self.model.when_hot_sha256) == wanted
        if (self.model.sha256 or pinned) and not complete:
            raise ValueError(
                f"model.when_hot_sha256: expected a hash for each of the {wanted} models in model.when_hot, "
                f"got {pinned}"
            )


EXAMPLE = """\
# Settings of `edgepose camera --config FILE`. Everything may be left out; these are the defaults unless said otherwise.

[model]
path = ""                    # a .tflite or the name of a model; default: edgepose-tiny; -m goes before it
# threads = 4                # of the interpreter; default: cores, at most four
sha256 = ""                  # the network must have this hash, as `edgepose info` shows it; default: any
when_hot = []                # cheaper models, in this order, for when the board is too hot; then frames are left out
when_hot_sha256 = []         # their hashes, in the same order; needed where sha256 is set

[camera]
source = "picamera2"         # picamera2[:N], v4l2:N, rtsp://..., http://..., a video, a folder, synthetic[:PEOPLE]
width = 640                  # what the camera is asked for; a little more than the model's input is enough
height = 480
# fps = 30                   # what the camera is asked for; default: its own
rotate = false               # by half a turn, in the sensor (picamera2)
loop = false                 # a video from the beginning again
real_time = true             # a video or the scene at its own pace; false: as fast as possible, every frame
[camera.controls]            # libcamera's controls (picamera2), as they are
# ExposureTime = 10000       # microseconds
# AnalogueGain = 4.0

[loop]
# max_fps = 10               # frames beyond are left out; default: as fast as possible
every_nth = 1                # look at every n-th frame only
track = true                 # number people across frames
smooth = true                # steady their keypoints (One-Euro filter)
hot_c = 80.0                 # above: slow down; firmware's throttling counts as hot
cool_c = 70.0                # below: back to normal

[output]
name = ""                    # of this device: any text; default: EDGEPOSE_NAME, else the host name
sinks = ["jsonl:poses.jsonl?rotate=50MB&keep=5&fsync=second"]   # default: none
#        "-"  "mqtt://user@broker/pose/{name}?qos=0"  "mqtts://broker"  "udp://10.0.0.2:7000"  "http://127.0.0.1:8080"
#        {hostname}, {name} (in ASCII: front-door) and {source} can be used in topics and file names
# privacy = "blur"           # of images that leave the process: none, blur, silhouette; needed for page and record
record = ""                  # a video with skeletons: out.avi, {name}.avi
insecure = false             # a page for others without a token (EDGEPOSE_HTTP_TOKEN)
"""


def read(path: Path) -> Config:
    """Read the settings of a file.

    Raises:
        InputError: The file cannot be read, or as `parse`.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise InputError(f"{path}: cannot read the configuration: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """Read settings; `path` names them in messages.

    Raises:
        InputError: The text is not TOML, or has a wrong key (the nearest right one is named) or value.
    """
    try:
        return schema.make(Config, tomllib.loads(text), strict=True)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
