"""The command `edgepose events edit`: draw zones and lines on an image in the browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from ...runtime.cli.command import Argument, Command, InputName, Number, Option, PathName
from ...runtime.io.messages import show_note, show_warning
from ...runtime.io.redact import mask_credentials
from ..config import CameraConfig
from ..config import read as read_config
from ..editor.config_file import ConfigFile
from ..editor.server import EditorServer
from ..editor.snapshot import take_snapshot

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class EventsEditOptions:
    """Values of the command line of `edgepose events edit`."""

    source: str
    config: Path | None
    at: float
    host: str
    port: int
    no_browser: bool


def run(options: EventsEditOptions) -> int:
    """Serve the page until the user is done; print the zones and lines, or write them into the file."""
    file = ConfigFile(options.config) if options.config is not None else None
    has_camera = options.config is not None and options.config.exists()
    camera = read_config(options.config).camera if options.config is not None and has_camera else CameraConfig()
    image = take_snapshot(options.source, options.at, camera)
    server = EditorServer(image, mask_credentials(options.source), file, options.host, options.port)
    toml = server.run(lambda address: _show_address(address, options))
    if file is None:
        print(toml, end="")
    else:
        show_note(f"zones and lines are in {file.path}; try them with `edgepose events test`")
    return 0


def _show_address(address: str, options: EventsEditOptions) -> None:
    """Print the address of the page, and open it if there is a browser."""
    show_warning(f"draw zones and lines at {address} and press Ctrl-C here to cancel")
    if options.host != _LOOPBACK:
        show_warning("other machines can open this address; the connection is not encrypted")
    elif "SSH_CONNECTION" in os.environ:
        port = address.split(":")[2].partition("/")[0]
        show_note(f"on your own machine, run first: ssh -L {port}:{_LOOPBACK}:{port} HOST")
    if not options.no_browser and _has_browser():
        webbrowser.open(address)


def _has_browser() -> bool:
    """Return True on a desktop. In a terminal without one, `webbrowser` would start a text browser."""
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or sys.platform == "darwin"
    return has_display and "SSH_CONNECTION" not in os.environ


command = Command(
    "edit",
    EventsEditOptions,
    run,
    description="""\
Draw zones and lines on an image in the browser, with mouse, touch or keyboard. The page runs on this
machine and ends when you click Done. Without --config, the TOML is printed; with it, the zones and lines
of the file are shown and replaced, and comments and all other tables of the file are kept.
On another machine: ssh -L 8000:127.0.0.1:8000 HOST, then --port 8000 there.""",
    examples="""\
  edgepose events edit clip.mp4 --at 12.5
  edgepose events edit v4l2:0 --config camera.toml
  edgepose events edit http://raspberrypi.local:8080/ > zones.toml
  edgepose events edit photo.jpg --config camera.toml --no-browser --port 8000""",
    parameters=[
        Argument("source", "image, video, camera, or the page of a board (its token in EDGEPOSE_HTTP_TOKEN)",
                 type=InputName(), metavar="SOURCE"),
        Option("--config", type=PathName(), metavar="FILE.toml", section="Rules",
               help="configuration file whose zones and lines are edited; it is created if it does not exist"),
        Option("--at", type=Number(float, 0, 1e6), default=0.0, metavar="S", section="Image",
               help="time of the frame in a video, in seconds (default: 0)"),
        Option("--no-browser", is_flag=True, section="Page", help="only print the address of the page"),
        Option("--port", type=Number(int, 0, 65535), default=0, metavar="PORT", section="Page",
               help="port of the page (default: a free one)"),
        Option("--host", default=_LOOPBACK, metavar="ADDRESS", section="Page",
               help=f"address that the page listens on (default: {_LOOPBACK}); everybody who knows the printed address "
                    "can open the page"),
    ],
)  # fmt: skip
