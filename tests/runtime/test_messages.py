"""Messages and progress on standard error."""

from __future__ import annotations

import pytest

from edgepose.runtime.io import messages
from edgepose.runtime.io.messages import Verbosity


@pytest.fixture(autouse=True)
def restore_verbosity() -> object:
    yield
    messages.set_verbosity(Verbosity.NORMAL)


def test_quiet_keeps_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    messages.set_verbosity(Verbosity.QUIET)
    messages.show_note("note")
    messages.show_detail("detail")
    messages.show_warning("warning\x1b[2J")
    assert capsys.readouterr().err == "edgepose: warning\\x1b[2J\n"


def test_verbose_shows_details(capsys: pytest.CaptureFixture[str]) -> None:
    messages.show_detail("hidden")
    messages.set_verbosity(Verbosity.VERBOSE)
    messages.show_detail("shown")
    assert capsys.readouterr().err == "edgepose: shown\n"


def test_progress_in_a_log_is_a_line_at_a_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(messages.time, "monotonic", lambda: now_s)
    with messages.show_progress(100, "fitting weights", "layer") as progress:
        for _ in range(100):
            now_s += 1
            progress.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "edgepose: fitting weights: layer 10 of 100, about 90 s left"
    with messages.show_progress(None, "a.pb", "byte", is_bytes=True) as progress:
        now_s += 20
        progress.update(3_000_000)
    assert capsys.readouterr().err == "edgepose: a.pb: MB 3\n"


def test_progress_on_a_terminal_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_has_terminal", lambda: True)
    assert list(messages.iterate_with_progress(range(10), "counting", "thing")) == list(range(10))
    assert "counting: 100%" in capsys.readouterr().err
    messages.set_verbosity(Verbosity.QUIET)
    assert list(messages.iterate_with_progress(range(10), "counting", "thing")) == list(range(10))
    assert capsys.readouterr().err == ""
