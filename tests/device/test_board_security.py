"""Attacks with files on a board, answers of a board, and changed files in the cache have no effect."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.device import config
from edgepose.device.cli import logs
from edgepose.device.cli import status as status_command
from edgepose.device.deploy import facts, hosts, plan, rollout, staging, units, wheelhouse
from edgepose.device.deploy.board import install
from edgepose.runtime.errors import InputError
from edgepose.runtime.io.printable import make_printable

from ..conftest import HANG_S
from .test_deploy import FRESH, RELEASE, make_board, make_running_board, make_wanted, wheel

pytestmark = pytest.mark.once
ID, OTHER, ENVIRONMENT = "20261124T140000-1a2b3c4d", "20261125T140000-1a2b3c4d", "e" * 16
ACTIVATE = Path(plan.__file__).parent / "board/activate.sh"
SYSTEMCTL = """\
#!/bin/sh
case "$*" in *MainPID*) echo 42 ;; esac
"""


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Folder that must not be changed."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "file").write_text("unharmed")
    return folder


def contents(folder: Path) -> dict[str, Any]:
    return {
        str(path): (path.lstat().st_uid, path.lstat().st_mode, path.read_text() if path.is_file() else "")
        for path in [folder, *folder.rglob("*")]
    }


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(install, "make_user", lambda groups: None)
    monkeypatch.setattr(install.os, "sync", lambda: None)
    path = tmp_path / "opt/edgepose"
    path.parent.mkdir()
    path.parent.chmod(0o755)
    return path


def prepare(base: Path) -> int:
    return install.main(["prepare", str(base), str(os.geteuid()), "video"])


def make_tar(*members: tuple[str, str | bytes], kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> bytes:
    """Return a tar archive with these names and contents or link targets."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.type = mode, kind
            if isinstance(content, bytes):
                entry.type, entry.size = tarfile.REGTYPE, len(content)
                tar.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.linkname = kind if kind != tarfile.REGTYPE else tarfile.SYMTYPE, content
                tar.addfile(entry)
    return buffer.getvalue()


RELEASE_FILES = (("release.json", b"{}"), ("camera.toml", b"x"), ("venv", f"../../environments/{ENVIRONMENT}"))


def unpack(base: Path, archive: bytes, kind: str = "releases", name: str = ID, digest: str = "") -> int:
    upload = base / f"uploads/{os.geteuid()}/{name}.tar"
    upload.write_bytes(archive)
    return install.main(
        ["unpack", str(base), kind, name, str(os.geteuid()), digest or hashlib.sha256(archive).hexdigest()]
    )


def test_folders_are_made_and_a_release_is_unpacked(base: Path) -> None:
    assert prepare(base) == 0
    assert unpack(base, make_tar(*RELEASE_FILES)) == 0
    release = base / "releases" / ID
    assert (release / "release.json").read_bytes() == b"{}"
    assert (release / "camera.toml").stat().st_mode & 0o777 == 0o640, "credentials are not for everybody"
    assert (release / "venv").readlink() == Path(f"../../environments/{ENVIRONMENT}")
    assert list((base / "staging").iterdir()) == list((base / f"uploads/{os.geteuid()}").iterdir()) == []
    assert (base / "staging").stat().st_mode & 0o777 == 0o700
    assert unpack(base, make_tar(*RELEASE_FILES)) == 0, "one that was left half is replaced"


@pytest.mark.parametrize(
    "name", ["releases", "environments", "healthy", "staging", "uploads", "current", "previous", ".lock", "other"]
)
def test_a_planted_link_is_removed_and_not_followed(base: Path, victim: Path, name: str) -> None:
    base.mkdir()
    (base / name).symlink_to(victim)
    before = contents(victim)
    assert prepare(base) == 0
    assert contents(victim) == before
    assert not (base / name).is_symlink()


def test_a_base_folder_that_is_a_link_is_refused(base: Path, victim: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base.symlink_to(victim)
    before = contents(victim)
    assert prepare(base) == 1
    assert contents(victim) == before
    assert "expected a folder, not a link" in capsys.readouterr().err


def test_a_folder_above_that_others_may_write_to_is_refused(base: Path) -> None:
    base.parent.chmod(0o777)
    assert prepare(base) == 1


def test_an_old_layout_is_taken_over_without_its_contents(base: Path, victim: Path) -> None:
    """Root becomes the owner of the folders only. Their content is not changed."""
    release = base / "releases" / ID
    release.mkdir(parents=True)
    (release / "healthy").symlink_to(victim / "file")
    (base / "current").symlink_to(f"releases/{ID}")
    (base / "previous").symlink_to("releases/x$(touch pwned)")
    before = contents(victim)
    assert prepare(base) == 0
    assert contents(victim) == before
    assert (base / "current").readlink() == Path(f"releases/{ID}")
    assert not (base / "previous").is_symlink()
    assert (base / "healthy" / ID).is_file()
    assert (release / "healthy").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
def test_the_contents_of_an_old_layout_keep_their_owner(base: Path) -> None:
    release = base / "releases" / ID
    release.mkdir(parents=True)
    for path in (base, base / "releases", release):
        os.chown(path, 12345, 12345)
    assert prepare(base) == 0
    assert (base.stat().st_uid, (base / "releases").stat().st_uid, release.stat().st_uid) == (0, 0, 12345)


@pytest.mark.parametrize(
    "archive",
    [
        make_tar(("../outside", b"x")),
        make_tar(("/tmp/outside", b"x")),
        make_tar(("a/../../outside", b"x")),
        make_tar(("venv", "/etc")),
        make_tar(("venv", "../../environments/../../etc")),
        make_tar(("venv", f"../../environments/{ENVIRONMENT}"), ("venv/x", b"x")),
        make_tar(("elsewhere", "/etc")),
        make_tar(("release.json", "/etc/passwd"), kind=tarfile.LNKTYPE),
        make_tar(("device", ""), kind=tarfile.CHRTYPE),
        make_tar(("fifo", ""), kind=tarfile.FIFOTYPE),
        make_tar(("a", b"x"), ("a", b"y")),
        b"no archive",
    ],
)
def test_invalid_archive_members_are_refused(base: Path, archive: bytes) -> None:
    assert prepare(base) == 0
    before = {path for path in base.parent.parent.rglob("*") if path.suffix != ".tar"}
    assert unpack(base, archive) == 1
    assert {path for path in base.parent.parent.rglob("*") if path.suffix != ".tar"} == before


def test_no_file_is_setuid_or_writable_for_others(base: Path) -> None:
    assert prepare(base) == 0
    assert unpack(base, make_tar(("program", b"x"), mode=0o6777)) == 0
    assert (base / "releases" / ID / "program").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("kind", ["damaged", "link", "fifo", "folder"])
def test_a_changed_upload_is_refused(base: Path, victim: Path, kind: str) -> None:
    assert prepare(base) == 0
    archive = make_tar(*RELEASE_FILES)
    upload = base / f"uploads/{os.geteuid()}/{ID}.tar"
    match kind:
        case "damaged":
            upload.write_bytes(archive + b"x")
        case "link":
            (victim / "archive").write_bytes(archive)
            upload.symlink_to(victim / "archive")
        case "fifo":
            os.mkfifo(upload)
        case _:
            upload.mkdir()
    words = ["unpack", str(base), "releases", ID, str(os.geteuid()), hashlib.sha256(archive).hexdigest()]
    assert install.main(words) == 1
    assert list((base / "releases").iterdir()) == []
    assert (victim / "file").read_text() == "unharmed"


@pytest.mark.parametrize("name", ["x$(touch pwned)", "../../etc", "", ".", f"{ID}\n", "20261124T140000-1A2B3C4D"])
def test_an_upload_with_a_name_that_is_no_id_is_refused(base: Path, name: str) -> None:
    assert prepare(base) == 0
    assert install.main(["unpack", str(base), "releases", name, "0", "0" * 64]) == 1


def test_the_output_of_the_service_user_is_cut_off() -> None:
    words = [sys.executable, "-I", "-S", "-B", "-", "sandbox", "1000", "sh", "-c", "yes | head -c 5000000; exit 3"]
    done = subprocess.run(words, input=plan.build_install_script().encode(), capture_output=True)
    assert (done.returncode, len(done.stdout)) == (3, 1000)


@pytest.fixture
def activate(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Set up activate.sh with fake commands and two releases; return a function that runs it."""
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", "#!/bin/sh\n"), ("sleep", "#!/bin/sh\n"),
                       ("setpriv", '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')):  # fmt: skip
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    base = tmp_path / "base"
    for name in (ID, OTHER):
        (base / "releases" / name).mkdir(parents=True)
        (base / "releases" / name / "release.json").write_text("{}")
        (base / "releases" / name / "venv").symlink_to(f"../../environments/{ENVIRONMENT}")
    (base / "environments" / ENVIRONMENT).mkdir(parents=True)
    (base / "healthy").mkdir()
    for folder in (base, *base.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o755)
    (tmp_path / "status.json").write_text('{"state": "running"}')

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "PATH": f"{stubs}:{os.environ['PATH']}", "EDGEPOSE_BASE": str(base),
                     "EDGEPOSE_STATUS": str(tmp_path / "status.json")}  # fmt: skip
        return subprocess.run(
            ["sh", ACTIVATE, *words], capture_output=True, text=True, env=variables, timeout=HANG_S, cwd=tmp_path
        )

    return call


def test_root_owns_the_health_mark(activate: Callable[..., Any], tmp_path: Path, victim: Path) -> None:
    base = tmp_path / "base"
    (base / "releases" / ID / "healthy").symlink_to(victim / "new")
    done = activate("switch", ID, "1", "3")
    assert done.returncode == 0, done.stdout
    assert list(victim.iterdir()) == [victim / "file"], "nothing was written through the link"
    assert (base / "healthy" / ID).is_file()
    assert activate("switch", OTHER, "1", "3").returncode == 0
    assert (base / "previous").readlink() == Path(f"releases/{ID}")
    assert activate("rollback", "-", "1").returncode == 0
    assert (base / "current").readlink() == Path(f"releases/{ID}")


@pytest.mark.parametrize("name", ["x$(touch pwned)", "../..", "$(touch pwned)", "`touch pwned`", "", "-", "20261124T1"])
@pytest.mark.parametrize("verb", ["switch", "rollback"])
def test_invalid_ids_are_refused_by_activate(
    activate: Callable[..., Any], tmp_path: Path, name: str, verb: str
) -> None:
    done = activate(verb, name, "1", "3")
    assert done.returncode != 0
    assert not list(tmp_path.rglob("pwned"))
    assert not (tmp_path / "base/current").is_symlink()


def test_old_releases_are_removed_and_links_are_not_followed(
    activate: Callable[..., Any], tmp_path: Path, victim: Path
) -> None:
    base = tmp_path / "base"
    for name in ("x$(touch pwned)", "a b ..", "*", ".half"):
        (base / "releases" / name).mkdir()
    (base / "releases/20200101T000000-00000000").symlink_to(victim)
    (base / "environments" / ("f" * 16)).symlink_to(victim)
    before = contents(victim)
    assert activate("switch", ID, "1", "3").returncode == 0
    assert contents(victim) == before
    assert sorted(path.name for path in (base / "releases").iterdir()) == [ID, OTHER]
    assert [path.name for path in (base / "environments").iterdir()] == [ENVIRONMENT]
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("folder", ["", "releases", "environments", "healthy"])
def test_folders_that_others_may_write_to_are_refused(
    activate: Callable[..., Any], tmp_path: Path, folder: str
) -> None:
    (tmp_path / "base" / folder).chmod(0o777)
    done = activate("switch", ID, "1", "3")
    assert done.returncode == 1
    assert "deploy again" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
def test_folders_of_another_user_are_refused(activate: Callable[..., Any], tmp_path: Path) -> None:
    os.chown(tmp_path / "base/releases" / ID, 12345, 12345)
    assert "there is no release" in activate("switch", ID, "1", "3").stdout
    os.chown(tmp_path / "base/releases", 12345, 12345)
    assert activate("recover").returncode == 1


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_a_planted_status_file_is_not_followed(activate: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    status = tmp_path / "status.json"
    status.rename(tmp_path / "secret")
    {"link": lambda: status.symlink_to(tmp_path / "secret"), "fifo": lambda: os.mkfifo(status), "folder": status.mkdir}[
        kind
    ]()
    done = activate("switch", ID, "1", "3")
    assert done.returncode == 1
    assert "delivers no frames" in done.stdout


@pytest.mark.parametrize(
    "changes",
    [
        {"codename": "../../../home"},
        {"codename": "a\nb"},
        {"python": [3]},
        {"python": [3, -1, 0]},
        {"uid": -1},
        {"machine": "aarch64;reboot"},
        {"packages": {"python3-numpy": "1.24\n../../x"}},
        {"current": "x$(touch pwned)"},
        {"status": {"a": 10**30}},
        {"memory_mb": 10**40},
        {"temperature_c": float("nan")},
        {"os": "x" * 100_000},
        {"releases": ["20261124T140000-1a2b3c4d"] * 50_000},
    ],
)
def test_an_answer_that_would_do_harm_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="probe"):
        facts.parse(json.dumps({**FRESH, **changes}))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, '"' + "x" * (2 << 20) + '"'])
def test_deep_and_large_answers_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        facts.parse(text)


def test_invalid_ids_are_not_used_in_commands() -> None:
    evil = "x$(touch pwned)"
    seen = make_board(
        releases=[evil, ID], environments=[evil, ENVIRONMENT], groups=["video", evil], name='a"\nUser=root'
    )
    assert (seen.releases, seen.environments, seen.groups, seen.name) == ((ID,), (ENVIRONMENT,), ("video",), "")
    other = dataclasses.replace(RELEASE, id=OTHER)
    assert make_running_board(RELEASE, current=OTHER).release is None
    assert make_running_board(other).release == other
    assert make_running_board(dataclasses.replace(RELEASE, secrets="$(x)")).release is None
    assert make_running_board(dataclasses.replace(RELEASE, model_sha256="x")).release is None


@pytest.mark.parametrize("changes", [{"release_owned": False}, {"folders": False}])
def test_a_release_that_root_does_not_own_is_deployed_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    found = [step.name for step in plan.make_steps(make_running_board(**changes), make_wanted(tmp_path), 20, 3)]
    assert found[0] == "user edgepose and folders"
    if "release_owned" in changes:
        assert f"release {RELEASE.id} unpacked" in found


def test_a_rollback_by_another_version_of_the_script_is_refused() -> None:
    with pytest.raises(InputError, match="run `edgepose deploy` once"):
        plan.make_rollback_steps(make_running_board(files={}), None, 5)
    (step,) = plan.make_rollback_steps(make_running_board(), None, 5)
    assert isinstance(step, plan.RootCommand)
    assert shlex.split(step.command)[-3:] == ["rollback", "-", "5"]


@given(st.text())
def test_output_cannot_control_the_terminal(text: str) -> None:
    shown = make_printable(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in shown)


def test_status_shows_no_escape_sequences() -> None:
    evil = "\x1b]0;owned\x07\u202e\r\n"
    status = {"state": evil, "problem": evil, "people": [evil], "fps": 10**15, "uptime_s": True, "last_person": evil}
    release = dataclasses.replace(RELEASE, network=evil)
    lines = status_command.format_table([status_command.make_row("one", make_running_board(release, status=status))])
    assert "\\x1b]0;owned" in "".join(lines)
    assert all(char.isprintable() for line in lines for char in line)


def test_logs_show_no_escape_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\nprintf 'a\\033[2Jb\\tc\\n'; exit 1\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert logs.run(logs.command.parse_options(["pi@host"])) == 1
    assert capfd.readouterr().out == "a\\x1b[2Jb\tc\n"


class FakeFleet:
    """Fleet whose boards answer at once."""

    def __init__(self, found: dict[str, facts.Facts]) -> None:
        self.found, self.problems, self.done = found, dict[str, str](), list[str]()

    def read_facts(self, *, check_sudo: bool) -> dict[str, facts.Facts]:
        assert check_sudo, "a rollout needs root"
        return self.found

    def drop(self, name: str, why: str) -> None:
        self.problems[name] = why

    def run_steps(self, work: dict[str, Any], note: Any) -> None:
        self.done += work


def roll_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: dict[str, facts.Facts], given: dict[str, str]
) -> tuple[FakeFleet, list[str]]:
    def make(name: str, *more: Any) -> plan.BoardRelease:
        if name == "bad":
            raise RuntimeError("\x1b[2J what nobody thought of")
        return make_wanted(tmp_path)

    (tmp_path / "stage").mkdir()
    for name in ("model.tflite", "camera.toml"):
        (tmp_path / "stage" / name).write_text("x")
    monkeypatch.setattr(rollout, "_prepare_board_release", make)
    said: list[str] = []
    content = staging.ReleaseBundle(tmp_path / "stage", config.Config(), RELEASE, "")
    fleet: Any = FakeFleet(found)
    settings = rollout.Settings((), tmp_path)
    rollout._deploy(fleet, content, settings, rollout.Outcome(), rollout.BoardNames(given, said.append), said.append)
    return fleet, said


def test_one_bad_board_never_stops_a_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, _ = roll_out(monkeypatch, tmp_path, {"bad": make_board(), "good": make_board(host="b")}, {})
    assert fleet.done == ["good"]
    assert "RuntimeError" in fleet.problems["bad"]


def test_boards_with_the_same_name_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"one": make_board(), "two": make_board(), "three": make_board()}
    _, said = roll_out(monkeypatch, tmp_path, found, {"three": "Back door"})
    assert len(said) == 1
    assert "two: warning: one is called pi too" in said[0]


def test_a_list_of_boards_can_name_them(tmp_path: Path) -> None:
    path = tmp_path / "shop.txt"
    path.write_text("pi@door name=Küche 2  # by the door\npi@counter\n")
    assert [(target.name, target.display_name) for target in hosts.parse([f"@{path}"])] == [
        ("pi@door", "Küche 2"),
        ("pi@counter", ""),
    ]
    assert [target.display_name for target in hosts.parse(["pi@door", f"@{path}"])] == ["Küche 2", ""]
    path.write_text("pi@door\tname=one\npi@door name=two\n")
    with pytest.raises(InputError, match="named twice"):
        hosts.parse([f"@{path}"])
    assert 'Environment="EDGEPOSE_NAME=Küche 2"\n' in units.make_service_unit([], "Küche 2")


@pytest.mark.parametrize("name", ["", 'a"', "a%h", "a\\", "$x", "a\x1b", "x" * 65, "a/b", "a#"])
def test_names_that_systemd_would_read_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected"):
        hosts.parse([f"pi@door name={name}"])
    if name:
        with pytest.raises(ValueError, match="expected"):
            units.make_service_unit([], name)


def test_a_name_is_kept_until_another_is_given(tmp_path: Path) -> None:
    text = units.make_service_unit(units.CAMERA_GROUPS, "door")
    files = {**plan.render_own_files(make_running_board()), units.SERVICE_PATH: text}
    hashes = {path: hashlib.sha256(content.encode()).hexdigest() for path, content in files.items()}
    named = make_running_board(name="door", files=hashes)
    assert plan.make_steps(named, make_wanted(tmp_path), 20, 3) == []
    changed = dataclasses.replace(make_wanted(tmp_path), name="window")
    assert [step.name for step in plan.make_steps(named, changed, 20, 3)][:2] == [
        units.SERVICE_PATH,
        "reload the units of systemd",
    ]


def test_secrets_are_hashed_with_a_random_salt() -> None:
    name, kept = staging.hash_secrets("A=b\n")
    assert staging.hash_secrets("A=b\n", kept) == (name, kept)
    assert staging.hash_secrets("A=c\n", kept)[0] != name
    assert staging.hash_secrets("A=b\n")[0] != name
    assert json.loads(staging.hash_secrets("A=b\n")[1])["hash"] != json.loads(kept)["hash"]
    for damaged in ("", "[", "[]", '{"salt": "00"}', "[" * 4000):
        assert staging.hash_secrets("A=b\n", damaged)[0] != name


def test_only_root_can_read_the_hash_of_the_secrets(tmp_path: Path) -> None:
    asked = dataclasses.replace(make_wanted(tmp_path, secrets="A=b\n"), secrets_hash="{}")
    step = next(step for step in plan.make_steps(make_board(), asked, 20, 3) if step.name == "hash of the secrets")
    assert isinstance(step, plan.RootCommand)
    assert f"chmod 600 {units.SECRETS_HASH_PATH}.new" in step.command


def test_a_changed_wheel_is_detected(tmp_path: Path) -> None:
    own = wheel(tmp_path, "edgepose", "0.1", "tool")
    place = wheelhouse.WheelTarget("aarch64", (3, 11), "bookworm")
    folder = tmp_path / "cache" / place.name
    folder.mkdir(parents=True)
    tool = wheel(folder, "tool", "1.0")
    key = hashlib.sha256(json.dumps([["tool"], {}, wheelhouse.read_pins(place)], sort_keys=True).encode()).hexdigest()
    lock = {"key": key, "wheels": {tool.name: wheelhouse.compute_sha256(tool)}}
    (folder / "lock.json").write_text(json.dumps(lock))
    collect = SimpleNamespace(offline=True, note=print)
    assert wheelhouse.collect(place, own, tmp_path / "cache", **vars(collect)) == [own, tool]
    wheel(folder, "tool", "1.0", "something-else")
    with pytest.raises(InputError, match="without --offline"):
        wheelhouse.collect(place, own, tmp_path / "cache", **vars(collect))
    (tmp_path / wheelhouse.HASHES_FILE).write_text(f"{'0' * 64}  {own.name}\n")
    (tmp_path / "edgepose-0.1-cp311-abi3-manylinux2014_aarch64.whl").write_bytes(own.read_bytes())
    with pytest.raises(InputError, match="SHA-256"):
        wheelhouse.find_own_wheel([tmp_path], "aarch64")


@pytest.mark.parametrize("name", ["aarch64-python3.11-bookworm", "aarch64-python3.13-trixie"])
def test_the_wheels_of_a_board_are_pinned_with_hashes(name: str) -> None:
    tag, python, codename = name.split("-")
    major, minor = python.removeprefix("python").split(".")
    pins = wheelhouse.read_pins(wheelhouse.WheelTarget(tag, (int(major), int(minor)), codename))
    lines = (Path(wheelhouse.__file__).parent / f"pins/{name}.txt").read_text().splitlines()
    assert {"aiohttp", "ai-edge-litert", "av", "opencv-python-headless", "paho-mqtt"} <= set(pins)
    assert len(pins) == len(lines), "every line is understood"
    assert wheelhouse.read_pins(wheelhouse.WheelTarget("aarch64", (3, 99), "nowhere")) == {}


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_the_probe_follows_no_link_of_the_service(tmp_path: Path, kind: str) -> None:
    release = tmp_path / "releases" / ID
    release.mkdir(parents=True)
    (tmp_path / "current").symlink_to(f"releases/{ID}")
    (tmp_path / "secret").write_text('{"id": "secret"}')
    planted = release / "release.json"
    planted.symlink_to(tmp_path / "secret") if kind == "link" else os.mkfifo(planted)
    done = subprocess.run(
        [sys.executable, "-I", "-", str(tmp_path)],
        input=facts.read_probe_script(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = json.loads(done.stdout)
    assert found["release"] is None
    assert found["current"] == ID
