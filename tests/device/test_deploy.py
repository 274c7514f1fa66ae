"""Deployment without a board: addresses, plans, doctor, status, wheels, releases."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.device import config
from edgepose.device.camera import release as service
from edgepose.device.camera import self_test
from edgepose.device.camera.release import Release, VideoCodec
from edgepose.device.cli import doctor_report
from edgepose.device.cli import status as status_command
from edgepose.device.deploy import environment, facts, hosts, plan, rollout, staging, units, wheelhouse
from edgepose.device.deploy.checks import get_upstream_version, run_checks
from edgepose.device.deploy.facts import Facts
from edgepose.device.deploy.fleet import Fleet
from edgepose.runtime import self_check
from edgepose.runtime.errors import EdgePoseError, InputError, ModelError
from edgepose.runtime.model import container

from ..conftest import call_edgepose
from .recorded_sensor_modes import LISTING

pytestmark = pytest.mark.once

FRESH: dict[str, Any] = {
    "board": "Raspberry Pi 4 Model B Rev 1.5", "host": "pi", "machine": "aarch64", "bits": 64, "architecture": "arm64",
    "os": "Debian GNU/Linux 12 (bookworm)", "codename": "bookworm", "python": [3, 11, 2],
    "executable": "/usr/bin/python3.11", "groups": ["video", "render"], "memory_mb": 3800, "memory_free_mb": 3000,
    "swap_mb": 512, "time": 1e9, "uptime_s": 100.0, "disk_free_mb": 20_000, "clock_synchronized": True, "throttled": 0,
    "temperature_c": 45.0, "packages": {"python3-numpy": "1:1.24.2-1+deb12u1"}, "candidates": {}, "files": {},
    "current": None, "release": None, "release_owned": True, "healthy": False, "name": "", "uid": 1000,
    "releases": [], "environments": [], "folders": False,
    "service": {}, "status": None,
}  # fmt: skip
RELEASE = Release("20261124T140000-1a2b3c4d", "0.1.0", "net", "int8", "a" * 64, "b" * 64, environment="e" * 16)


def make_board(**changes: Any) -> Facts:
    return facts.parse(json.dumps({**FRESH, **changes}))


def make_wanted(tmp_path: Path, release: Release = RELEASE, secrets: str = "") -> plan.BoardRelease:
    for name in ("e.tar.gz", "r.tar"):
        (tmp_path / name).write_bytes(b"x")
    return plan.BoardRelease(release, "synthetic:1", tmp_path / "e.tar.gz", tmp_path / "r.tar", secrets)


def make_running_board(release: Release = RELEASE, **changes: Any) -> Facts:
    """Return the facts of a board on which a release is completely installed and running."""
    from hashlib import sha256

    seen = make_board()
    files = {path: sha256(text.encode()).hexdigest() for path, text in plan.render_own_files(seen).items()}
    return make_board(**{
        "current": release.id, "release": asdict(release), "healthy": True, "releases": [release.id], "folders": True,
        "environments": [release.environment], "files": files,
        "service": {"ActiveState": "active", "UnitFileState": "enabled"}, **changes,
    })  # fmt: skip


def make_video_facts(video: VideoCodec, imports: dict[str, str]) -> dict[str, Any]:
    release = replace(RELEASE, video=video)
    return {"current": release.id, "release": asdict(release), "imports": {"numpy": "", "cv2": "", **imports}}


def list_names(steps: list[plan.Step]) -> list[str]:
    return [step.name for step in steps]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pi@raspberrypi.local", ("raspberrypi.local", "pi", None)),
        ("pi@10.0.0.7:2222", ("10.0.0.7", "pi", 2222)),
        ("kitchen", ("kitchen", None, None)),
        ("pi@[fe80::1%eth0]:22", ("fe80::1%eth0", "pi", 22)),
    ],
)
def test_boards_are_named_as_for_ssh(text: str, expected: tuple[str, str | None, int | None]) -> None:
    (target,) = hosts.parse([text])
    assert (target.host, target.user, target.port) == expected


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=reboot", "pi@-x", "a b", "pi@host:0", "pi@host:99999", "x;reboot", "$(x)"]
)
def test_what_is_no_board_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected"):
        hosts.parse([text])


@given(st.text(max_size=40))
def test_any_text_is_a_board_or_an_error(text: str) -> None:
    try:
        found = hosts.parse([text] if not text.startswith("@") else ["x"])
    except InputError:
        return
    assert all(
        not word.startswith("-") or word in ("-l", "-p") for target in found for word in target.make_ssh_options()
    )
    assert not any(set(target.host) & set(" ;$&|`'\"\n") for target in found)


def test_a_list_of_boards_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.txt"
    path.write_text("pi@one\n\n# the back room\npi@two:2222  # slow\npi@one\n")
    assert [target.name for target in hosts.parse([f"@{path}", "pi@two:2222"])] == ["pi@one", "pi@two:2222"]
    path.write_text("# none\n")
    with pytest.raises(InputError, match="contains no boards"):
        hosts.parse([f"@{path}"])


def test_a_fresh_board_gets_everything_in_order(tmp_path: Path) -> None:
    found = list_names(
        plan.make_steps(
            make_board(packages={}, candidates={"python3-numpy": "1:1.24.2-1"}), make_wanted(tmp_path), 20, 3
        )
    )
    kinds = ("system packages python3-numpy", "user edgepose", "environment", "environment", "release", "release",
             "/etc", "/etc", "/usr/local", "reload the units", "self-test", "switch to")  # fmt: skip
    assert len(found) == len(kinds)
    assert all(name.startswith(kind) for name, kind in zip(found, kinds, strict=True)), found


def test_a_running_release_is_not_deployed_again(tmp_path: Path) -> None:
    assert plan.make_steps(make_running_board(), make_wanted(tmp_path), 20, 3) == []


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"healthy": False}, "self-test"),
        ({"service": {"ActiveState": "failed", "UnitFileState": "enabled"}}, "self-test"),
        ({"service": {"ActiveState": "active", "UnitFileState": "disabled"}}, "self-test"),
        ({"files": {}}, "/etc/systemd/system/edgepose.service"),
        ({"environments": []}, None),
    ],
)
def test_changes_on_the_board_are_corrected(tmp_path: Path, changes: dict[str, Any], first: str | None) -> None:
    found = list_names(plan.make_steps(make_running_board(**changes), make_wanted(tmp_path), 20, 3))
    assert (found[:1] or [None]) == [first]
    if found:
        assert found[-1] == f"switch to {RELEASE.id}, healthy for 20 s", "the same release, not a second one"


def test_an_upgrade_of_the_model_sends_the_release_alone(tmp_path: Path) -> None:
    new = replace(RELEASE, id="20261125T140000-00000000", content_sha256="c" * 64)
    found = list_names(plan.make_steps(make_running_board(), make_wanted(tmp_path, new), 20, 3))
    assert [name.split()[0] for name in found] == ["user", "release", "release", "self-test", "switch"]


def test_secrets_are_kept_if_none_are_given(tmp_path: Path) -> None:
    kept = replace(RELEASE, secrets="0" * 32)
    assert plan.make_steps(make_running_board(kept), make_wanted(tmp_path, kept), 20, 3) == []
    changed = replace(RELEASE, id="20261125T140000-00000000", secrets="1" * 32)
    found = list_names(plan.make_steps(make_running_board(kept), make_wanted(tmp_path, changed, 'A="b"\n'), 20, 3))
    assert "secrets" in found
    assert found[-1].startswith("switch to 20261125T140000-00000000"), "the loop reads them when it starts"
    (tmp_path / "camera.toml").write_text("")
    content = staging.ReleaseBundle(tmp_path, config.Config(), RELEASE, "")
    assert content.create_release("e" * 16, kept).secrets == "0" * 32


def test_secrets_are_on_no_command_line(tmp_path: Path) -> None:
    steps = plan.make_steps(make_board(), make_wanted(tmp_path, secrets='EDGEPOSE_HTTP_TOKEN="correct-horse"\n'), 20, 3)
    commands = [step.command for step in steps if isinstance(step, plan.RootCommand)]
    assert not any("correct-horse" in command for command in commands)
    step = next(step for step in steps if step.name == "secrets")
    assert isinstance(step, plan.RootCommand)
    assert step.stdin == 'EDGEPOSE_HTTP_TOKEN="correct-horse"\n'
    assert "umask 077" in step.command
    assert "chmod 600" in step.command


def test_code_of_a_release_runs_in_the_sandbox(tmp_path: Path) -> None:
    """It runs as the service user, with every property of the unit, and without the user's site-packages."""
    step = next(
        step for step in plan.make_steps(make_board(), make_wanted(tmp_path), 20, 3) if step.name == "self-test"
    )
    assert isinstance(step, plan.RootCommand)
    words = shlex.split(step.command)
    given = [after for word, after in itertools.pairwise(words) if word == "-p"]
    assert given[0] == "User=edgepose"
    unit = units.make_service_unit(units.CAMERA_GROUPS)
    for key, value in units.SANDBOX:
        assert f"{key}={value}" in given
        assert f"{key}={value}\n" in unit
    for line in (" ".join(words), unit):
        assert "venv/bin/python -I -B -u -m edgepose.device." in line
        assert "PYTHONNOUSERSITE=1" in line


@pytest.mark.parametrize("step", range(12))
def test_every_command_is_one_the_shell_understands(tmp_path: Path, step: int) -> None:
    steps = plan.make_steps(make_board(packages={}), make_wanted(tmp_path, secrets="A=b\n"), 20, 3)
    if step < len(steps) and isinstance(run := steps[step], plan.RootCommand):
        assert subprocess.run(["sh", "-n", "-c", run.command], check=False).returncode == 0


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "word"),
    [
        ({"python": [3, 9, 2]}, "system and Python", "failed", "Bookworm"),
        ({"machine": "armv6l", "bits": 32, "architecture": "armhf"}, "system and Python", "failed", "ARMv6"),
        ({"bits": 32, "architecture": "armhf", "python": [3, 13, 5]}, "system and Python", "failed", "64-bit"),
        ({"bits": 32, "architecture": "armhf"}, "system and Python", "ok", ""),
        ({"bits": 32, "architecture": "armhf"}, "32 or 64 bits", "warning", "64-bit"),
        ({"throttled": 0x50005}, "power", "warning", "5.1 V"),
        ({"throttled": 0x80008}, "power", "warning", "heat sink"),
        ({"temperature_c": 85.0}, "temperature", "warning", "fan"),
        ({"disk_free_mb": 100}, "disk", "failed", "apt clean"),
        ({"memory_mb": 90, "memory_free_mb": 20}, "memory", "failed", "smaller model"),
        ({"memory_free_mb": 60, "swap_mb": 0}, "memory", "warning", "swap"),
        ({"time": 1e9 - 86400}, "clock", "warning", "set-ntp"),
        ({"clock_synchronized": False}, "clock", "warning", "set-ntp"),
        ({"packages": {}}, "NumPy from apt", "failed", "apt update"),
        ({"imports": {"numpy": "", "cv2": "ValueError: numpy.dtype size changed", "a.interpreter": ""}},
         "Python packages", "failed", "not compatible"),
        ({"imports": {"numpy": "", "cv2": "", "a.interpreter": "x", "b.interpreter": "y"}},
         "Python packages", "failed", "interpreter"),
        ({"imports": {"numpy": "", "picamera2": "No module named 'picamera2'"}, "system_picamera2": True},
         "picamera2", "failed", "system's packages"),
        ({"current": RELEASE.id, "service": {"ActiveState": "failed", "Result": "exit-code"}},
         "service", "failed", "rollback"),
        ({"cameras": [], "system_picamera2": True}, "camera", "warning", "ribbon"),
        ({"sudo": "password", "user": "ann", "user_groups": ["sudo"]}, "sudo", "failed", "--ask-sudo-password"),
        ({"sudo": "password", "user": "ann"}, "sudo", "failed", "sudo adduser ann sudo"),
        ({"sudo": "wrong", "user": "ann"}, "sudo", "failed", "type it again"),
        ({"sudo": "denied", "user": "ann"}, "sudo", "failed", "sudo adduser ann sudo"),
        ({"sudo": "missing"}, "sudo", "failed", "apt install sudo"),
        ({"sudo": "failed", "sudo_message": "sorry, you must have a tty"}, "sudo", "failed", "log in with ssh"),
        ({"memory_free_mb": 60, "swap_mb": 0, "swap_packages": ["rpi-swap"]}, "memory", "warning", "/etc/rpi/swap"),
        ({"memory_free_mb": 60, "swap_mb": 0, "swap_packages": ["dphys-swapfile"]}, "memory", "warning",
         "CONF_SWAPSIZE"),
        ({"memory_free_mb": 60, "swap_mb": 0, "swap_packages": ["zram-tools"]}, "memory", "warning", "zramswap"),
        ({"memory_free_mb": 60, "swap_mb": 0, "swap_packages": ["systemd-zram-generator"]}, "memory", "warning",
         "zram-size"),
        ({"current": RELEASE.id, "sudo": "password", "service": {"ActiveState": "active"}},
         "Python packages", "warning", "sudo"),
        (make_video_facts("h264", {"av": ""}), "videos", "ok", ""),
        (make_video_facts("h264", {"av": "No module named 'av'"}), "videos", "failed", "deploy again"),
        (make_video_facts("mpeg4", {"av": "No module named 'av'"}), "videos", "warning", "64-bit"),
        (make_video_facts("mpeg4", {"av": ""}), "videos", "warning", "64-bit"),
    ],
)  # fmt: skip
def test_doctor_reports_faults_and_solutions(changes: dict[str, Any], name: str, verdict: str, word: str) -> None:
    checks = {check.name: check for check in run_checks(make_board(**changes), local_time_s=1e9)}
    assert checks[name].verdict == verdict
    assert word in checks[name].fix


def test_doctor_shows_the_field_of_view() -> None:
    """The view of the running loop, otherwise the one with the default settings."""
    checks = {check.name: check for check in run_checks(make_board(camera_listing=LISTING))}
    assert checks["field of view"].seen == (
        "with the default settings 0: imx219: sensor mode 1640x1232 10-bit, full field of view, frames 640x480, up to "
        "41.9 FPS; 1: imx708_wide: sensor mode 2304x1296 10-bit, full field of view, frames 640x360, up to 56.0 FPS"
    )
    status = {"state": "running", "camera": "picamera2:0: sensor mode 640x480"}
    checks = {check.name: check for check in run_checks(make_running_board(camera_listing=LISTING, status=status))}
    assert checks["field of view"].seen == "picamera2:0: sensor mode 640x480"
    assert "field of view" not in {check.name for check in run_checks(make_board(camera_listing="ERROR\n"))}


def test_the_probe_reads_the_listing_of_rpicam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "rpicam-hello"
    program.write_text(f"#!/bin/sh\ncat <<'EOF'\n{LISTING}EOF\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    words = [sys.executable, "-I", "-", "/nowhere", "deep", "sudo"]
    done = subprocess.run(words, input=facts.read_probe_script(), capture_output=True, text=True, check=True)
    seen = facts.parse(done.stdout)
    assert seen.cameras == (
        "0 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx219@10)",
        "1 : imx708_wide [4608x2592] (/base/soc/i2c0mux/i2c@0/imx708@1a)",
    )
    assert seen.camera_listing == LISTING.strip()
    assert seen.sudo is not None
    assert seen.user


def test_a_report_has_no_names_of_boards_and_users(tmp_path: Path) -> None:
    targets = hosts.parse(["ann@kitchen.lan:2222", "pi@10.0.0.9"])
    seen = make_board(
        host="kitchen", name="Ann's kitchen", user="ann", sudo="password", sudo_message="ann needs one",
        camera_listing=LISTING + "``` evil\x1b[2J", board="Raspberry Pi 5",
    )  # fmt: skip
    path = tmp_path / "report.md"
    sections = [doctor_report.Section(targets[0].name, seen, run_checks(seen))]
    doctor_report.write(path, sections, {"pi@10.0.0.9": "cannot be reached"}, targets)
    text = path.read_text()
    assert re.search(r"\bann\b|kitchen|Ann|10\.0\.0\.9|\x1b", text) is None, text
    assert "## board 1" in text
    assert "## board 2\n\nno answer: cannot be reached" in text
    assert "FAILED   sudo               USER1 needs a password" in text
    assert "1640x1232 [41.85 fps" in text
    assert text.count("\n```") == 4, "the board cannot end a code block"
    facts_text = text.partition("```json\n")[2].partition("\n```")[0]
    assert json.loads(facts_text)["board"] == "Raspberry Pi 5"
    with pytest.raises(EdgePoseError, match="cannot write here"):
        doctor_report.write(tmp_path / "missing/report.md", sections, {}, targets)


def test_the_report_of_this_machine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.md"
    done = call_edgepose(capfd, "doctor", "--report", path)
    assert "read it before you attach it" in done.stderr
    assert "system and Python" in path.read_text()


def test_a_healthy_board_has_no_complaints() -> None:
    assert [check for check in run_checks(make_running_board(), local_time_s=1e9) if check.verdict != "ok"] == []


@pytest.mark.parametrize(
    ("debian", "expected"),
    [("1:1.24.2-1+deb12u1", "1.24.2"), ("1:2.2.4+ds-1", "2.2.4"), ("4.6.0+dfsg-12", "4.6.0"), ("2.0", "2.0")],
)
def test_versions_of_debian_are_read(debian: str, expected: str) -> None:
    assert get_upstream_version(debian) == expected


@given(st.one_of(st.text(max_size=100), st.dictionaries(st.sampled_from(sorted(FRESH)), st.integers()).map(json.dumps)))
def test_an_invalid_answer_is_an_error(text: str) -> None:
    try:
        facts.parse(text)
    except InputError as error:
        assert "probe" in str(error)


def test_facts_of_this_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-", "/nowhere", "deep"], input=facts.read_probe_script(), capture_output=True, text=True
    )
    seen = facts.parse(done.stdout)
    assert seen.python[:2] == sys.version_info[:2]
    assert seen.current is None
    assert seen.memory_mb > 100


@pytest.mark.parametrize("include_cameras", [False, True])
def test_the_probe_looks_for_cameras_if_the_fleet_asks_for_them(include_cameras: bool) -> None:
    answers: list[dict[str, Any]] = []

    class LocalFleet(Fleet):
        def __init__(self) -> None:
            pass

        def run(self, command_line: str, **_: Any) -> dict[str, tuple[bool, str, str]]:  # type: ignore[override]
            words = [sys.executable, *shlex.split(command_line)[1:]]
            done = subprocess.run(words, input=facts.read_probe_script(), capture_output=True, text=True, check=True)
            answers.append(json.loads(done.stdout))
            return {"here": (True, done.stdout, done.stderr)}

    assert LocalFleet().read_facts(include_cameras=include_cameras)["here"].memory_mb > 100
    assert ("system_picamera2" in answers[0]) == include_cameras


def test_doctor_of_this_machine(capfd: pytest.CaptureFixture[str]) -> None:
    document = json.loads(call_edgepose(capfd, "doctor", "--json").stdout)
    assert {check["name"] for check in document["boards"]["this machine"]} >= {
        "system and Python",
        "trial inference",
        "cache",
        "memory",
    }


def wheel(folder: Path, name: str, version: str, *requires: str, tag: str = "py3-none-any") -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        archive.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
    return path


def test_requirements_are_those_of_the_board(tmp_path: Path) -> None:
    own = wheel(
        tmp_path,
        "edgepose",
        "0.1",
        'tool>=2; platform_machine == "aarch64"',
        'old; python_version < "3.13"',
        'x; extra == "camera"',
    )
    new, board64 = (
        wheelhouse.WheelTarget("x86_64", (3, 13), "trixie"),
        wheelhouse.WheelTarget("aarch64", (3, 11), "bookworm"),
    )
    assert wheelhouse._find_missing_requirements([own], new) == ["x"]
    assert wheelhouse._find_missing_requirements([own], board64) == ["old", "tool>=2", "x"]
    there = [wheel(tmp_path, name, version) for name, version in (("tool", "1.9"), ("old", "1"), ("x", "1"))]
    assert wheelhouse._find_missing_requirements([own, *there], board64) == ["tool>=2"]


def test_no_wheel_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make wheels"):
        wheelhouse.find_own_wheel([tmp_path], "aarch64")


def test_wheels_that_are_not_here_are_not_fetched_offline(tmp_path: Path) -> None:
    own = wheel(tmp_path, "edgepose", "0.1", "absent-package-of-nobody")
    place = wheelhouse.WheelTarget("aarch64", (3, 11), "bookworm", {"numpy": "1.24.2"})
    with pytest.raises(InputError, match="without --offline"):
        wheelhouse.collect(place, own, tmp_path / "cache", offline=True, note=print)


def test_a_32_bit_board_gets_opencv_from_apt() -> None:
    seen = make_board(bits=32, architecture="armhf", candidates={"python3-opencv": "4.6.0+dfsg-12"})
    assert plan.find_missing_packages(seen, "picamera2") == ("python3-opencv", "python3-picamera2")
    place = rollout.get_wheel_target(seen)
    assert place.tag == "armv7l"
    assert place.from_apt == {"numpy": "1.24.2", "opencv-python-headless": "4.6.0"}
    assert "tflite" in place.extras


def test_an_environment_is_a_virtual_environment(tmp_path: Path) -> None:
    """Python accepts the manually created folder as a virtual environment and finds the system packages."""
    packed = wheel(tmp_path, "tiny", "1.0")
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("tiny.py", "answer = 42\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    place = wheelhouse.WheelTarget("x86_64", (sys.version_info[0], sys.version_info[1]), "bookworm")
    executable = str(Path(sys.executable).resolve())
    path = environment.build_archive([packed], place, executable, tmp_path / "cache")
    assert environment.build_archive([packed], place, executable, tmp_path / "cache") == path, "made once"
    with tarfile.open(path) as tar:
        assert {member.mode & 0o022 for member in tar.getmembers() if not member.issym()} == {0}
        tar.extractall(tmp_path / "venv", filter="fully_trusted")
    code = "import sys, tiny; print(tiny.answer, sys.prefix != sys.base_prefix)"
    done = subprocess.run([tmp_path / "venv/bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["42", "True"]


CONFIG = '[camera]\nsource = "synthetic:1"\n[output]\nsinks = ["-"]\n'


def test_a_release_is_tested_before_it_is_sent(small_model: Path, tmp_path: Path) -> None:
    settings = tmp_path / "camera.toml"
    settings.write_text(CONFIG)
    (tmp_path / "stage").mkdir()
    content = staging.prepare_bundle(str(small_model), settings, [], tmp_path / "stage")
    assert 50 < content.release.memory_mb < 1000
    first = content.create_release("e" * 16)
    assert first.content_sha256 == content.create_release("e" * 16, first).content_sha256
    assert first.content_sha256 != content.create_release("f" * 16, first).content_sha256
    assert first.content_sha256 != content.create_release("e" * 16).content_sha256, "credentials in it: a random salt"
    content.write_archive(first, tmp_path / "r.tar")
    with tarfile.open(tmp_path / "r.tar") as tar:
        tar.extractall(tmp_path / "release", filter="fully_trusted")
    assert service.read(tmp_path / "release") == first
    words = service.build_arguments(tmp_path / "release")
    assert words[:3] == ["camera", "-m", str(tmp_path / "release/model.tflite")]
    assert "reference poses reproduced" in self_test.run_self_test(tmp_path / "release")


def test_a_model_with_different_results_is_detected(small_model: Path, tmp_path: Path) -> None:
    manifest = container.read(small_model)
    assert manifest.golden is not None
    moved = tuple(tuple(value + 60 for value in pose) for pose in manifest.golden.poses)
    assert moved, "the network sees somebody in one of the scenes"
    wrong = replace(manifest, golden=replace(manifest.golden, poses=moved))
    path = tmp_path / "wrong.tflite"
    container.write(path, container.read_flatbuffer(small_model), wrong)
    (tmp_path / "stage").mkdir()
    settings = tmp_path / "camera.toml"
    settings.write_text(CONFIG)
    with pytest.raises(ModelError, match=r"0 of \d+ reference poses were found"):
        staging.prepare_bundle(str(path), settings, [], tmp_path / "stage")


def test_missing_reference_poses_are_recorded(small_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.tflite"
    manifest = container.read(small_model)
    container.write(path, container.read_flatbuffer(small_model), replace(manifest, golden=None))
    self_check.record(path)
    assert container.read(path).golden == manifest.golden
    assert container.read(path).flatbuffer_sha256 == manifest.flatbuffer_sha256


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("correct-horse-battery", None, "never its value"),
        ("EDGEPOSE_HTTP_TOKEN", None, "is not set here"),
        ("EDGEPOSE_HTTP_TOKEN", 'a"b', "quotes"),
        ("EDGEPOSE_HTTP_TOKEN", "a\nUser=root", "line ends"),
    ],
)
def test_secrets_that_cannot_be_kept(
    name: str, value: str | None, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEPOSE_HTTP_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)
    with pytest.raises(EdgePoseError, match=problem):
        staging._read_secrets([name])


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for name, text in (
        ("edgepose.service", units.make_service_unit(units.CAMERA_GROUPS)),
        ("edgepose-recover.service", units.make_recover_unit()),
    ):
        (tmp_path / name).write_text(text)
    assert "SupplementaryGroups=video\n" in units.make_service_unit(["video", "audio"])
    assert "SupplementaryGroups" not in units.make_service_unit([])
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "edgepose.service"], capture_output=True, text=True
    )
    # systemd-analyze exits with 0 for an unknown key. Missing programs on this machine are not errors of the unit.
    said = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert said == []


def test_status_in_a_table() -> None:
    status = {
        "state": "running",
        "fps": 12.34,
        "people": 2,
        "last_person": 1e9 - 300,
        "uptime_s": 90000.0,
        "problem": "",
    }
    rows = [
        status_command.make_row("one", make_running_board(status=status, throttled=0x50000)),
        status_command.make_lost_row("two", "cannot be reached"),
    ]
    first, second, third, problem = status_command.format_table(rows)
    assert first.split()[:3] == ["board", "release", "model"]
    for word in (
        "20261124T140000-1a2b3c4d",
        "net int8",
        "running",
        "12.3",
        "45 C",
        "undervoltage since boot",
        "5 min ago",
        "25 h",
    ):
        assert word in second
    assert "no answer" in third
    assert problem == "two: cannot be reached"


def test_a_paused_board_is_no_failure() -> None:
    (check,) = [
        check for check in run_checks(make_running_board(status={"state": "paused"})) if check.name == "service"
    ]
    assert check.verdict == "warning"
    assert "paused" in check.seen


@pytest.mark.parametrize("command", ["deploy", "status", "logs", "rollback"])
def test_help_has_examples(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert "pi@raspberrypi.local" in call_edgepose(capfd, command, "--help").stdout


def test_a_loop_that_is_stopped_while_it_starts_is_no_failure() -> None:
    """Otherwise `systemctl restart` would start the recovery, which returns to the previous release."""
    from edgepose.device.deploy import units
    from edgepose.runtime.cli.signals import Terminated, get_exit_code

    code = get_exit_code(Terminated(signal.SIGTERM))
    assert f"\nSuccessExitStatus={code}\n" in units.make_service_unit(["video"])
