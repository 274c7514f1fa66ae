"""Commands in messages about missing packages: they must work for the way in which edgepose was installed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edgepose.runtime import install_hint
from edgepose.runtime.errors import MissingExtraError
from edgepose.runtime.install_hint import make_install_command


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str | None) -> None:
    """Make `folder` look like a site-packages folder into which pip has installed edgepose from `source`."""
    info = folder / "edgepose-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgepose\nVersion: 9\n")
    if source is not None:
        (info / "direct_url.json").write_text(source)
    monkeypatch.syspath_prepend(str(folder))


def get_requirement(command: str) -> str:
    return command.partition(" install ")[2]


def test_from_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, None)
    monkeypatch.setattr(install_hint, "_CHECKOUT", tmp_path)
    assert get_requirement(make_install_command("plot")) == "'edgepose[plot]'"


def test_from_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "my projects" / "edgepose"
    checkout.mkdir(parents=True)
    install(tmp_path / "site", monkeypatch, json.dumps({"url": checkout.as_uri(), "dir_info": {"editable": True}}))
    words = shlex.split(get_requirement(make_install_command("plot")))
    assert words == ["--editable", f"{checkout}[plot]"]


def test_from_a_folder_and_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "edgepose-9-cp311-abi3-linux_x86_64.whl"
    wheel.touch()
    install(tmp_path / "site", monkeypatch, json.dumps({"url": wheel.as_uri(), "archive_info": {}}))
    assert shlex.split(get_requirement(make_install_command("plot"))) == [f"{wheel}[plot]"]


@pytest.mark.parametrize("source", ["{", "[]", "{}", '{"url": 3}', '{"url": "file:///gone/edgepose", "dir_info": {}}'])
def test_a_source_that_is_gone_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    install(tmp_path, monkeypatch, source)
    assert get_requirement(make_install_command("plot")) == "'edgepose[plot]'"


def test_from_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, '{"url": "https://example.org/edgepose.git", "vcs_info": {"vcs": "git"}}')
    words = shlex.split(get_requirement(make_install_command("plot")))
    assert words == ["edgepose[plot] @ git+https://example.org/edgepose.git"]


def test_pip_of_another_python_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = tmp_path / "pip"
    pip.write_text("#!/bin/sh\n")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert make_install_command("plot").startswith(f"{shlex.quote(sys.executable)} -m pip install ")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert make_install_command("plot").startswith("pip install ")


@pytest.mark.once
def test_the_command_is_understood_by_pip() -> None:
    error = MissingExtraError("--plot", "plot", ModuleNotFoundError("no", name="matplotlib"))
    command = str(error).partition("`")[2].removesuffix("`")
    done = subprocess.run(
        [*shlex.split(command), "--dry-run", "--no-deps", "--no-index", "--no-build-isolation"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Would install edgepose" in done.stdout
