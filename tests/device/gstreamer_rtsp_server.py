"""RTSP server for tests, run with the Python of the system: it needs the packages gir1.2-gst-rtsp-server-1.0 and
python3-gi, which are not on the package index. Every frame shows the monotonic clock in milliseconds, as 32 bars.

    python3 gstreamer_rtsp_server.py PORT tcp|udp FPS [USER PASSWORD [digest]]
"""

from __future__ import annotations

import sys
import time
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

WIDTH, HEIGHT, BITS = 320, 240, 32
ENCODERS = {
    "x264enc": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 bitrate=2000 ! rtph264pay",
    "openh264enc": "openh264enc gop-size=15 ! rtph264pay",
    "jpegenc": "jpegenc ! rtpjpegpay",
}


def paint_clock() -> bytes:
    value = int(time.monotonic() * 1000)
    bar = WIDTH // BITS
    row = b"".join((b"\xf0" if value >> bit & 1 else b"\x10") * bar for bit in reversed(range(BITS)))
    return row * HEIGHT + b"\x80" * (WIDTH * HEIGHT // 2)  # I420


class Factory(GstRtspServer.RTSPMediaFactory):
    def __init__(self, fps: int) -> None:
        super().__init__()
        self.fps = fps
        encoder = next(text for name, text in ENCODERS.items() if Gst.ElementFactory.find(name))
        self.set_launch(
            f"appsrc name=clock is-live=true do-timestamp=true format=time max-buffers=1 "
            f"caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={fps}/1 "
            f"! videoconvert ! {encoder} name=pay0 pt=96"
        )
        self.set_shared(True)

    def do_configure(self, media: Any) -> None:
        source = media.get_element().get_child_by_name("clock")
        GLib.timeout_add(1000 // self.fps, self.push, source)

    @staticmethod
    def push(source: Any) -> bool:
        return bool(source.emit("push-buffer", Gst.Buffer.new_wrapped(paint_clock())) == Gst.FlowReturn.OK)


def require_password(server: Any, factory: Factory, user: str, password: str, digest: bool) -> None:
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if digest:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    permissions = GstRtspServer.RTSPPermissions()
    for name in ("access", "construct"):
        permissions.add_permission_for_role("user", f"media.factory.{name}", True)
    factory.set_permissions(permissions)
    server.set_auth(auth)


def main(port: str, protocol: str, fps: str, user: str = "", password: str = "", method: str = "basic") -> None:
    Gst.init(None)
    server, factory = GstRtspServer.RTSPServer(), Factory(int(fps))
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP if protocol == "udp" else GstRtsp.RTSPLowerTrans.TCP)
    if user:
        require_password(server, factory, user, password, method == "digest")
    server.get_mount_points().add_factory("/door", factory)
    if not server.attach(None):
        sys.exit("the port is in use")
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
