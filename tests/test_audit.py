"""Vulnerability audit of `make check`: a finding is an error, a missing connection is not."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from . import audit

FINDING = {"name": "a", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
CLEAN = {"name": "b", "version": "2.0", "vulns": []}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("entries", "code", "words"),
    [
        ([CLEAN, SKIPPED], 0, ["1 packages looked up, 0 findings", "could not be looked up"]),
        ([CLEAN, FINDING], 1, ["a 1.0: PYSEC-1, fixed in 1.1", "1 findings"]),
        ([SKIPPED], 0, ["0 packages looked up"]),
    ],
)
def test_a_vulnerability_is_an_error(
    entries: list[dict[str, Any]],
    code: int,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(audit, "audit", lambda *options: entries if options == ("--skip-editable",) else [])
    assert audit.main() == code
    said = "".join(capsys.readouterr())
    assert all(word in said for word in words)


def test_a_missing_connection_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = subprocess.CompletedProcess[str]([], 1, "", "Traceback\nConnectionError: no network\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert audit.audit("-r", "x.txt") == [{"name": "-r x.txt", "skip_reason": "ConnectionError: no network"}]
