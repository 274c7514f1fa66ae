"""Credentials are removed from messages."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.runtime.io.redact import mask_credentials


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://me:secret@cam/1", "rtsp://cam/1"),
        ("RTSP://me:secret@cam/1", "RTSP://cam/1"),
        ("rtmp://me:se/cr@et@cam/1", "rtmp://cam/1"),
        ("rtsp:/me:secret@cam", "rtsp:/cam"),
        ("mqtts://me:secret@host: expected a host", "mqtts://host: expected a host"),
        ("http://cam/x?user=me&password=secret&fps=5", "http://cam/x?user=***&password=***&fps=5"),
        ("http://cam/x?access_token=secret", "http://cam/x?access_token=***"),
        ("--source 'http://me:secret@cam/x'", "--source 'http://cam/x'"),
        ("rtsp://me:se'cr\"et@cam/1", "rtsp://cam/1"),
        ("sink 'mqtts://me:se'cret@host': expected a topic", "sink 'mqtts://host': expected a topic"),
        ("see 'rtsp://a:secret@cam', and 'x@y'", "see 'rtsp://cam', and 'x@y'"),
        ("http://cam/cgi?usr=me&psw=secret&ch=1", "http://cam/cgi?usr=***&psw=***&ch=1"),
        ("http://cam/?loginpas=se'cret&pwd1=secret", "http://cam/?loginpas=***&pwd1=***"),
        ("rtsp://cam/user=me_password=secret_channel=1/x", "rtsp://cam/user=***/x"),
        ("/data/user=5/video.mp4", "/data/user=5/video.mp4"),
        ("photo@home.jpg", "photo@home.jpg"),
        ("jsonl:poses.jsonl", "jsonl:poses.jsonl"),
    ],
)
def test_credentials_are_removed(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


@given(st.from_regex(r"[a-zA-Z][a-z+]{0,6}://[a-z]{1,5}:SECRET[!-~]{0,5}@cam[a-z/]{0,9}", fullmatch=True))
def test_no_password_survives(address: str) -> None:
    # A quotation mark before `:` or a similar character ends a quoted address.
    if not re.search(r"['\"][:;,.)\]}]", address):
        assert "SECRET" not in mask_credentials(address)


@pytest.mark.parametrize("piece", ["a:", "a:'", "a", "?pass", "://x/user=a", "http://"])
def test_masking_is_fast(piece: str) -> None:
    """Messages contain external text, which may be long."""
    start = time.process_time()
    mask_credentials(piece * (4000 // len(piece)))
    assert time.process_time() - start < 1
