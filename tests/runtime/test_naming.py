"""Device names, placeholders in topics and file names, wall-clock time of messages."""

from __future__ import annotations

import json
import re
import socket
import time
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.device.sinks.base import Message
from edgepose.runtime import COCO18, EstimateResult, Frame, InputError, Timings
from edgepose.runtime.io import formats, naming

EMPTY = EstimateResult((), Timings(0, 0, 0))
IMAGE = np.zeros((16, 16, 3), np.uint8)


@pytest.fixture(autouse=True)
def no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(naming.NAME_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Front door", "front-door"),
        ("Küche", "kueche"),
        ("Ku\u0308che", "kueche"),
        ("Straße Ärmel", "strasse-aermel"),
        ("Garçon", "garcon"),
        ("pi-door_2", "pi-door_2"),
        ("pi.lan", "pi-lan"),
        ("a/b #c+", "a-b-c"),
    ],
)
def test_a_name_has_an_ascii_slug(name: str, slug: str) -> None:
    assert naming.make_slug(name) == slug


@pytest.mark.parametrize(
    ("one", "other"),
    [("玄関", "裏口"), ("玄関 1", "裏口 1"), ("🚪", "🏠"), ("!", "?"), ("a" * 60, "a" * 61)],
)
def test_names_that_lose_characters_stay_different(one: str, other: str) -> None:
    assert naming.make_slug(one) != naming.make_slug(other)


@given(st.text(max_size=80))
def test_every_name_has_a_slug(name: str) -> None:
    slug = naming.make_slug(name)
    assert re.fullmatch(r"[a-z0-9_-]{1,40}", slug)
    assert naming.make_slug(slug) == slug


@pytest.mark.parametrize(
    ("source", "slug"),
    [
        ("picamera2", "picamera2"),
        ("v4l2:0", "v4l2-0"),
        ("/dev/video0", "video0"),
        ("synthetic:5", "synthetic-5"),
        ("rtsp://me:secret@10.0.0.9:554/door?token=secret", "10-0-0-9-554-door"),
        ("videos/My clip.mp4", "my-clip"),
        ("photos/", "photos"),
    ],
)
def test_a_source_has_a_slug_without_credentials(source: str, slug: str) -> None:
    assert naming.make_source_slug(source) == slug


def test_the_name_is_configured_or_from_the_environment_or_the_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert naming.resolve_name("") == naming.get_device_name() == naming.get_host_name()
    monkeypatch.setenv(naming.NAME_VARIABLE, "Küche")
    assert naming.resolve_name("") == naming.get_device_name() == "Küche"
    assert naming.resolve_name("Door {hostname}") == f"Door {naming.get_host_name()}"
    for wrong in ("a\nb", "x" * 65, "\udcff"):
        monkeypatch.setenv(naming.NAME_VARIABLE, wrong)
        with pytest.raises(InputError, match="EDGEPOSE_NAME: expected 1 to 64"):
            naming.get_device_name()


def test_the_host_name_localhost_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    assert naming.get_host_name().startswith("edgepose")


def test_unknown_placeholders_get_a_suggestion() -> None:
    values = naming.make_placeholder_values("Küche", "v4l2:0")
    assert naming.fill_placeholders("pose/{name}/{source}/{{x}}/{", values, "x") == "pose/kueche/v4l2-0/{x}/{"
    with pytest.raises(InputError, match=r"^topic: unknown placeholder \{nmae\}; did you mean \{name\}\?"):
        naming.fill_placeholders("{nmae}", values, "topic")
    with pytest.raises(InputError, match=r"expected \{hostname\}, \{name\}, \{source\}"):
        naming.fill_placeholders("{}", values, "topic")


def test_a_message_has_time_and_device() -> None:
    before = time.time()
    frame = Frame(IMAGE, "rtsp://me:secret@cam/1", 3, 77, captured_ns=time.monotonic_ns() - 2_000_000_000)
    line = json.loads(Message(frame, EMPTY, COCO18, "Küche").line)
    assert (line["version"], line["device"], line["source"]) == (2, "Küche", "rtsp://cam/1")
    assert (line["index"], line["timestamp_ns"]) == (3, 77)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    taken = datetime.fromisoformat(line["time"]).timestamp()
    assert abs(taken - (before - 2)) < 0.5, "of the exposure, not of the message"


def test_a_frame_without_a_time_of_capture_has_none() -> None:
    line = json.loads(Message(Frame(IMAGE, "x", timestamp_ns=9), EMPTY, COCO18).line)
    assert (line["time"], line["timestamp_ns"], line["device"]) == (None, 9, naming.get_host_name())


def test_a_change_of_the_clock_is_used_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Raspberry Pi has no battery-backed clock: it starts with an old time, and NTP sets it later."""
    now = [12_345_678_901]
    monkeypatch.setattr("time.time_ns", lambda: now[0])
    monkeypatch.setattr("time.monotonic_ns", lambda: 100_000_000_000)
    assert formats.format_capture_time(99_000_000_000) == "1970-01-01T00:00:11.345Z"
    now[0] = 1_764_057_600_000_000_000
    assert formats.format_capture_time(99_999_000_000) == "2025-11-25T07:59:59.999Z"
    now[0] = 0
    assert formats.format_capture_time(99_999_500_000) == "1969-12-31T23:59:59.999Z"
