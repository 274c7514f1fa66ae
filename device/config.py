"""Settings of the camera loop: a commented TOML file. Command-line options override it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ..runtime import schema
from ..runtime.errors import InputError
from ..runtime.io import naming
from ..runtime.io.atomic import expand_home
from ..runtime.io.read_file import read_text
from ..runtime.model import container
from ..runtime.model.interpreter import MAX_THREADS
from ..runtime.schema import Limits
from ..runtime.toml_lines import find_line
from .clips.config import ClipsConfig
from .events.config import EventsConfig
from .sinks.privacy import Privacy

FrameSide = Annotated[int, Limits(16, 8192, unit="px")]
SensorSide = Annotated[int, Limits(16, 65536, unit="px")]
Celsius = Annotated[float, Limits(unit="°C")]

_RULE_PLACE = re.compile(r"events\.\w+\[\d+\][^:]*(?=: )")
"""Place of a rule at the beginning of an error message, such as `events.zone[0].anchor`."""


@dataclass(frozen=True)
class ModelConfig:
    """Section `[model]`.

    Attributes:
        path: A .tflite file, or the name of a model; "": edgepose-tiny. The option `--model` replaces it.
        threads: Threads of the interpreter; None: the number of cores, at most 4. With several cameras the threads are
            divided among them.
        sha256: SHA-256 that the network must have, as `edgepose info` prints it; "": any.
        when_hot: Faster models to use while the board is too hot, in this order. After the last one, frames are
            skipped. They need the same skeleton.
        when_hot_sha256: SHA-256 of the models in `when_hot`, in the same order; required if `sha256` is set.
    """

    path: str = ""
    threads: Annotated[int, Limits(1, MAX_THREADS)] | None = None
    sha256: str = ""
    when_hot: tuple[str, ...] = ()
    when_hot_sha256: tuple[str, ...] = ()

    def get_pins(self) -> tuple[str | None, ...]:
        """Return the SHA-256 that each network must have: `path` first, then `when_hot`; None accepts any."""
        others = self.when_hot_sha256 if any(self.when_hot_sha256) else ("",) * len(self.when_hot)
        return tuple(pin or None for pin in (self.sha256, *others))


@dataclass(frozen=True)
class CameraConfig:
    """Section `[camera]`: the frame source.

    Attributes:
        source: `picamera2[:N]`, `v4l2:N`, `/dev/video0`, `rtsp://...`, `http://...`, a video, an image, a folder of
            images, `-` (JPEG images from standard input), or `synthetic[:PEOPLE]`.
        sources: Several cameras, each as `NAME=SOURCE`, instead of `source`.
        width: Largest width of a frame. Slightly more than the input of the model is enough.
        height: Largest height of a frame.
        fps: Frame rate that is requested from the camera; None: the camera decides, 30 for a Raspberry Pi camera.
        sensor_size: Width and height of the sensor mode (`picamera2` only); None: the smallest mode with the
            full field of view.
        rotate: Rotate the image by 180 degrees in the sensor (`picamera2` only).
        loop: Repeat a video when it ends.
        real_time: Play videos at their own speed. `false`: process every frame, as fast as possible.
        controls: libcamera controls by name (`picamera2` only), such as `ExposureTime = 10000` in microseconds.
    """

    source: str = "picamera2"
    sources: tuple[str, ...] = ()
    width: FrameSide = 640
    height: FrameSide = 480
    fps: Annotated[float, Limits(above=0, most=1000)] | None = None
    sensor_size: tuple[SensorSide, SensorSide] | None = None
    rotate: bool = False
    loop: bool = False
    real_time: bool = True
    controls: dict[str, Any] = field(default_factory=dict)

    def list_names(self) -> list[str]:
        """Return the names of the cameras, if there are several."""
        return [source.partition("=")[0].strip() for source in self.sources]


@dataclass(frozen=True)
class LoopConfig:
    """Section `[loop]`: frame rate, tracking, reaction to heat.

    Attributes:
        max_fps: Maximum FPS; None: as fast as possible.
        every_nth: Process only every n-th frame.
        track: Person tracking: each person keeps a number. Rules need it.
        smooth: Keypoint smoothing (One-Euro filter); needs `track`.
        hot_c: Temperature above which the loop slows down. Throttling by the firmware counts as too hot, too.
        cool_c: Temperature below which the loop speeds up again; less than `hot_c`.
    """

    max_fps: Annotated[float, Limits(above=0)] | None = None
    every_nth: Annotated[int, Limits(1)] = 1
    track: bool = True
    smooth: bool = True
    hot_c: Celsius = 80.0
    cool_c: Celsius = 70.0


@dataclass(frozen=True)
class OutputConfig:
    """Section `[output]`: sinks, privacy, recording.

    Attributes:
        name: Name of this device, 1 to 64 printable characters; "": `EDGEPOSE_NAME`, else the host name.
        sinks: Where poses and events are sent, such as `jsonl:FILE`, `mqtt://HOST`, `http://HOST:PORT`.
        privacy: Change to images that leave the process: unchanged, blurred, or skeletons on black. Required for
            `http`, `record` and clips.
        record: Video with the skeletons drawn, such as `{name}.mp4?minutes=10&size=200MB&limit=2GB`; "": none.
        insecure: Allow a web page without a token (`EDGEPOSE_HTTP_TOKEN`) that other machines can open.
    """

    name: str = ""
    sinks: tuple[str, ...] = ()
    privacy: Privacy | None = None
    record: str = ""
    insecure: bool = False


@dataclass(frozen=True)
class Config:
    """All settings of the camera loop.

    Attributes:
        model: The networks.
        camera: The frame source.
        loop: Frame rate, tracking, reaction to heat.
        output: Sinks, privacy, recording.
        events: Rules that turn poses into events.
        clips: Recordings of events.
    """

    model: ModelConfig = ModelConfig()
    camera: CameraConfig = CameraConfig()
    loop: LoopConfig = LoopConfig()
    output: OutputConfig = OutputConfig()
    events: EventsConfig = EventsConfig()
    clips: ClipsConfig = ClipsConfig()

    @property
    def has_output(self) -> bool:
        """True if something receives the poses: a sink, a recording or clips."""
        return bool(self.output.sinks or self.output.record or self.clips.folder)

    def check(self) -> None:
        """Raise ValueError if a setting is out of range or contradicts another."""
        loop = self.loop
        self.check_ranges()
        checks = {
            "loop.smooth: needs loop.track": loop.track or not loop.smooth,
            "events: need loop.track": loop.track or not self.events,
            "loop.cool_c: expected less than loop.hot_c": loop.cool_c < loop.hot_c,
            f"output.name: expected 1 to {naming.MAX_NAME_LENGTH} printable characters, got {self.output.name[:80]!r}":
                not self.output.name or naming.is_valid_name(self.output.name),
        }  # fmt: skip
        for message, well in checks.items():
            if not well:
                raise ValueError(message)
        self._check_pins()
        self.check_events()
        self.clips.check([rule.name for _, rule in self.events.list_rules()])

    def check_ranges(self) -> None:
        """Raise ValueError if a number is out of range; the message begins with section and key."""
        schema.check_limits(self.model, "model")
        schema.check_limits(self.camera, "camera")
        schema.check_limits(self.loop, "loop")
        schema.check_limits(self.clips, "clips")

    def check_events(self) -> None:
        """Raise ValueError if a rule is not valid."""
        self.events.check(self.camera.list_names())

    def _check_pins(self) -> None:
        """Raise ValueError for an invalid SHA-256, and if only some of the models have one."""
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
# Settings for `edgepose camera --config FILE`. All keys are optional; the values below are the defaults unless noted.

[model]
path = ""                    # a .tflite file or the name of a model; default: edgepose-tiny; -m overrides it
# threads = 4                # threads of the interpreter; default: number of cores, at most 4
sha256 = ""                  # SHA-256 that the network must have (see `edgepose info`); default: any
when_hot = []                # faster models to use while the board is too hot, in this order; then frames are skipped
when_hot_sha256 = []         # SHA-256 of these models, in the same order; required if sha256 is set

[camera]
source = "picamera2"         # picamera2[:N], v4l2:N, rtsp://..., http://..., a video, a folder, -, synthetic[:PEOPLE]
# sources = ["door=rtsp://10.0.0.9/1", "yard=v4l2:0"]   # several cameras, NAME=SOURCE, instead of source
width = 640                  # largest frame size; slightly more than the model input is enough
height = 480
# fps = 30                   # requested from the camera; default: the camera decides
# sensor_size = [1640, 1232] # sensor mode (picamera2); default: the smallest with the full field of view
rotate = false               # rotate by 180 degrees in the sensor (picamera2)
loop = false                 # repeat a video when it ends
real_time = true             # play videos at their own speed; false: process every frame, as fast as possible
[camera.controls]            # libcamera controls (picamera2)
# ExposureTime = 10000       # microseconds
# AnalogueGain = 4.0

[loop]
# max_fps = 10               # maximum FPS; default: as fast as possible
every_nth = 1                # process only every n-th frame
track = true                 # person tracking: each person keeps a number
smooth = true                # keypoint smoothing (One-Euro filter); needs track
hot_c = 80.0                 # degrees Celsius above which the loop slows down; throttling by the firmware counts too
cool_c = 70.0                # degrees Celsius below which it speeds up again

[output]
name = ""                    # name of this device, any text; default: EDGEPOSE_NAME, else the host name
sinks = ["jsonl:poses.jsonl?rotate=50MB&keep=5&fsync=second"]   # default: none
#        "-"  "mqtt://user@broker/pose/{name}?qos=0"  "mqtts://broker"  "udp://10.0.0.2:7000"  "http://127.0.0.1:8080"
#        for events only: "jsonl:events.jsonl?only=events"  "webhook:https://example.org/hook"  "exec:/opt/alarm"
#        MQTT for Home Assistant: ?image=10 publishes an image every 10 s, ?pause=off accepts no commands
#        topics and file names may contain {hostname}, {name} (as ASCII: front-door) and {source}
# privacy = "blur"           # change to images that leave the process: none, blur, silhouette; needed for http, record
record = ""                  # write videos with skeletons: out.mp4, {name}.mp4?minutes=10&size=200MB&limit=2GB
insecure = false             # allow a web page without a token (EDGEPOSE_HTTP_TOKEN) that other machines can open

[clips]                      # video, snapshots, JSON file per event (docs/guides/clips.md); needs privacy and rules
folder = ""                  # nothing is recorded without a folder: "clips", "/mnt/usb/{name}"
rules = []                   # rules whose events are recorded; default: all
before_s = 5                 # seconds before the event
after_s = 5                  # seconds after the event, or after its end
max_s = 60                   # longest clip in seconds
fps = 10                     # maximum FPS of the clips
snapshot = true              # an image (JPEG) of the event
video = true                 # H.264 in MP4 needs the extra `video`
# keep = 100                 # number of clips that are kept; default: no limit
# days = 30                  # days for which clips are kept; default: no limit
limit = "2GB"                # size of all clips in the folder; the oldest are removed
free = "500MB"               # free space on the disk, below which the oldest are removed, then nothing is recorded

# Rules that turn poses into events (docs/guides/events.md). Write one table per rule; default: no rules.
# Coordinates are shares of the frame, 0 to 1 from the upper left corner, or pixels.
# [[events.zone]]            # enter, leave, dwell, capacity
# name = "yard"
# polygon = [[0.1, 0.5], [0.9, 0.5], [0.9, 1.0], [0.1, 1.0]]
# anchor = "feet"            # or center, or a keypoint such as nose
# dwell_s = 60               # report people who stay longer; default: do not
# capacity = 5               # report more people than this; default: do not
# [[events.line]]            # cross, with the direction: in is from left to right, seen along the line
# name = "door"
# points = [[0.3, 0.8], [0.7, 0.8]]
# swap = false               # exchange in and out
# [[events.posture]]         # standing, sitting, crouching, lying
# name = "posture"
# [[events.fall]]
# name = "fall"
# outside = ["bed"]          # all rules: inside and outside of zones
# [[events.gesture]]
# name = "help"
# gesture = "hand_raised"    # or arms_crossed
# [[events.angle]]
# name = "elbow bent"
# keypoints = ["shoulder", "elbow", "wrist"]
# below = 90
# [[events.repetitions]]
# name = "squats"
# preset = "squat"           # or push_up, curl
# [[events.expression]]
# name = "hands together"
# expression = "distance(left_wrist, right_wrist) < 0.1 * height"
# for_s = 1.0                # must hold for this time
# days = ["mon", "fri"]      # all rules: days and hours, time between events of a person, limits
# hours = "22:00-06:00"
# cooldown_s = 60
# min_score = 0.3
# min_height = 0.2
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


@contextmanager
def name_lines(path: Path | None) -> Iterator[None]:
    """Add file and line to an error about a rule that is found later, when the skeleton of the model is known.

    Args:
        path: The file that was read; None if there is none.

    Raises:
        InputError: A rule does not fit the skeleton.
    """
    try:
        yield
    except (InputError, ValueError) as error:
        place = _RULE_PLACE.match(str(error))
        if path is None or place is None:
            raise
        path = Path(expand_home(str(path)))
        try:
            line = f"line {find_line(read_text(path), place[0])}: "
        except (OSError, UnicodeDecodeError):
            line = ""
        raise InputError(f"{path}: {line}{error}") from None


def parse(text: str, path: Path) -> Config:
    """Read settings; `path` names them in messages.

    Raises:
        InputError: The text is not TOML, has a wrong key (the nearest right one is named) or value, or a rule is not
            valid.
    """
    try:
        config = schema.build(Config, tomllib.loads(text), strict=True)
        config.check_ranges()
        config.check_events()
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    except ValueError as error:
        place = str(error).partition(": ")[0]
        raise InputError(f"{path}: line {find_line(text, place)}: {error}") from None
    return config
