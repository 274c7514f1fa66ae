"""Credentials never reach a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.runtime.redact import mask_credentials


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
        ("photo@home.jpg", "photo@home.jpg"),
        ("jsonl:poses.jsonl", "jsonl:poses.jsonl"),
    ],
)
def test_credentials_are_removed(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


@given(st.from_regex(r"[a-zA-Z][a-z+]{0,6}://[a-z]{1,5}:SECRET[!-~]{0,5}@cam[a-z/]{0,9}", fullmatch=True))
def test_no_password_survives(address: str) -> None:
    if "'" not in address and '"' not in address:
        assert "SECRET" not in mask_credentials(address)
