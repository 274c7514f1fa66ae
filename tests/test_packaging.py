"""What a stranger gets: the source distribution, the wheel, and the page of the package index."""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

import click
import pytest

from edgepose.runtime.cli.main import CommandLine

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("runtime", "convert", "device", "benchmarks")
# Settings of the hosting service and of git.
ONLY_IN_THE_CHECKOUT = (".github/", ".ci/", ".gitignore", ".pre-commit-config.yaml", ".gitattributes", ".dockerignore")

pytestmark = pytest.mark.once


def list_checkout() -> set[str]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("this is not a checkout of git")
    return {name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()}


def run_setup(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_sdist_has_all_files_of_the_checkout(tmp_path: Path) -> None:
    run_setup("egg_info", "-e", str(tmp_path), "sdist", "-d", str(tmp_path))
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as members:
        names = {member.name.partition("/")[2] for member in members if member.isfile()}
    expected = {name for name in list_checkout() if not name.startswith(ONLY_IN_THE_CHECKOUT)}
    assert not expected - names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".so")]
    assert archive.stat().st_size < 10e6


def test_the_wheel_has_all_files_of_the_checkout(tmp_path: Path) -> None:
    """Models, skeletons, pages, pins: nothing that the code opens may be missing."""
    run_setup("build", "--build-base", str(tmp_path / "build"), "bdist_wheel", "-d", str(tmp_path))
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [archive.read(name) for name in names if name.endswith(".dist-info/METADATA")]
    sources = {name for name in list_checkout() if name.startswith(PARTS) and Path(name).suffix not in (".pyx", ".pxi")}
    expected = {f"edgepose/{name.removeprefix('runtime/root/')}" for name in sources}
    assert not expected - names
    assert len([name for name in names if name.endswith("LICENSE") and ".dist-info/" in name]) == 2
    check_links(email.message_from_bytes(metadata).get_payload())


def check_links(description: object) -> None:
    assert isinstance(description, str) and description.startswith("# edgepose")
    targets = re.findall(r"\]\(([^)\s]+)|src=\"([^\"]+)|^\[[^]]+\]: +(\S+)", description, flags=re.MULTILINE)
    links = ["".join(target) for target in targets]
    assert len(links) > 10
    assert not [link for link in links if not link.startswith(("https://", "#"))]
    # An absolute link to a file that does not exist here would stay unnoticed.
    for link in links:
        found = re.match(r"https://[^/]+/edgepose/edgepose/(?:blob/main|main)/([^#]+)", link)
        assert found is None or (ROOT / found[1]).exists(), link


def test_the_image_names_extras_that_exist() -> None:
    extras = re.findall(r"^ARG EXTRAS=(.+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras and set(extras[0].split(",")) <= set(known)


@pytest.mark.parametrize(
    ("state", "age_s", "code"), [("running", 0, 0), ("paused", 0, 0), ("camera lost", 0, 1), ("running", 60, 1)]
)
def test_the_health_check_of_the_image(state: str, age_s: float, code: int, tmp_path: Path) -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    [check] = re.findall(r"^HEALTHCHECK .*?CMD (\[.*\])$", text, flags=re.MULTILINE)
    program, *arguments = json.loads(check)
    assert program == "python" and "RUNTIME_DIRECTORY=/tmp " in text
    (tmp_path / "status.json").write_text(json.dumps({"state": state, "time": time.time() - age_s}))
    arguments = [word.replace("/tmp", str(tmp_path)) for word in arguments]
    assert subprocess.run([sys.executable, *arguments], check=False).returncode == code


def test_the_command_of_compose_parses() -> None:
    [command] = re.findall(r"^    command: (\[.*\])$", (ROOT / "compose.yaml").read_text(), flags=re.MULTILINE)
    words = [word.strip().strip('"') for word in command[1:-1].split(",")]
    parsed = CommandLine().get_command(click.Context(CommandLine()), words[0])
    assert parsed is not None
    parsed.make_context(words[0], words[1:])
