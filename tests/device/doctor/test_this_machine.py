"""`edgepose doctor` without a board: real packages, a broken interpreter, broken packages, folders, cameras, tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgepose.device.deploy.check import Check
from edgepose.device.doctor import deploy_tools, packages, storage, video_devices
from edgepose.device.doctor.video_devices import VideoDevice

from ...conftest import ROOT
from ..test_deploy import make_board

CAPTURE, METADATA, CODEC = 0x4200001, 0x4A00000, 0x4208000
BROKEN_NUMPY = "raise ImportError('numpy.dtype size changed, may indicate binary incompatibility')\n"


def run_doctor(*words: str, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code and the checks by name, of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "edgepose.runtime.cli", "doctor", "--json", *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **variables}, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["boards"]["this machine"]}


def get_checks(found: object) -> dict[str, Check]:
    assert not isinstance(found, dict)
    return {check.name: check for check in found}  # type: ignore[attr-defined]


def test_a_working_installation(tmp_path: Path) -> None:
    code, checks = run_doctor(EDGEPOSE_MODELS="")
    assert code == 0, [check for check in checks.values() if check["verdict"] == "failed"]
    assert "edgepose-tiny: 1 of 1 person found" in checks["trial inference"]["seen"]
    assert " ms per image" in checks["trial inference"]["seen"]
    assert "ai-edge-litert" in checks["interpreter"]["seen"] or "tflite-runtime" in checks["interpreter"]["seen"]
    assert "edgepose-tiny" in checks["models"]["seen"]


@pytest.mark.parametrize("name", ["nonsense", "tflite-runtime"])
def test_a_broken_interpreter(name: str) -> None:
    if name == "tflite-runtime" and packages._is_installed("tflite_runtime"):
        pytest.skip("tflite-runtime is installed")
    code, checks = run_doctor(EDGEPOSE_INTERPRETER=name)
    assert code == 1
    assert checks["interpreter"]["verdict"] == "failed"
    assert name in checks["interpreter"]["seen"]
    assert "trial inference" not in checks
    assert checks["memory"]["verdict"] in ("ok", "warning"), "the other checks run"


def test_packages_that_do_not_fit_together(tmp_path: Path) -> None:
    """The command itself must not need NumPy."""
    (tmp_path / "numpy.py").write_text(BROKEN_NUMPY)
    # `-P` and PYTHONPATH: this folder is searched before the installed packages.
    code, checks = run_doctor(PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert code == 1
    assert checks["NumPy"]["verdict"] == "failed"
    assert "dtype size changed" in checks["NumPy"]["seen"]
    assert "'numpy<2' 'opencv-python-headless<4.12'" in checks["NumPy"]["fix"]


def test_a_package_that_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    code, checks = run_doctor(PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert code == 1
    assert checks["trial"]["seen"] == "the process crashed (SIGILL) after NumPy"


def test_it_needs_no_extras() -> None:
    modules = sorted({module for extra in packages.EXTRAS.values() for module in extra.modules})
    blocked = "; ".join(f"sys.modules[{module.split('.')[0]!r}] = None" for module in modules)
    code = f"import sys; {blocked}\nfrom edgepose.runtime.cli.main import main\nsys.exit(main(['doctor', '--json']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["boards"]["this machine"]}
    assert checks["extras"]["seen"] == "installed: none"
    assert checks["extra deploy"]["verdict"] == "missing"
    assert "pip install" in checks["extra deploy"]["fix"]
    assert "deploy]" in checks["extra deploy"]["fix"]
    assert "SSH" not in checks, "only a workstation with the extra deploy connects to boards"


def test_all_extras_are_known() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(packages.EXTRAS) == set(project["optional-dependencies"]) - {"dev"}
    for name, extra in packages.EXTRAS.items():
        required = {line.split(">")[0].split("=")[0] for line in project["optional-dependencies"][name]}
        names = {"av": "av", "paho.mqtt": "paho-mqtt"}
        for module in extra.modules:
            assert names.get(module, module.replace("_", "-")) in required


def test_cameras(tmp_path: Path) -> None:
    flags = {"video0": CAPTURE, "video1": METADATA, "video10": CODEC, "video2": None}
    for name in flags:
        (tmp_path / "dev" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()
        (tmp_path / "class" / name).mkdir(parents=True)
        (tmp_path / "class" / name / "name").write_text(f"Device {name}\n")
    devices = video_devices.list_devices(tmp_path / "dev", tmp_path / "class", lambda path: flags[path.name])
    assert [(device.path.name, device.captures) for device in devices] == [
        ("video0", True), ("video1", False), ("video2", None), ("video10", False),
    ]  # fmt: skip
    checks = list(video_devices.check_cameras(make_board(board="", cameras=None), devices))
    assert [check.verdict for check in checks] == ["ok", "failed", "ok"]
    assert checks[0].seen.endswith("video0 Device video0; --source v4l2:0")
    assert "no permission" in checks[1].seen
    assert "usermod -aG" in checks[1].fix or "log out and in" in checks[1].fix
    assert checks[2].seen.startswith("2 more video devices")


def test_a_file_that_is_no_video_device(tmp_path: Path) -> None:
    """The real query: a file and a device that do not know the request."""
    (tmp_path / "video0").touch()
    (tmp_path / "video1").symlink_to("/dev/null")
    (tmp_path / "video2").symlink_to("/nowhere")
    devices = video_devices.list_devices(tmp_path, tmp_path)
    assert [device.captures for device in devices] == [False, False, False]


@pytest.mark.parametrize(
    ("board", "is_container", "verdict", "fix"),
    [
        ("Raspberry Pi 5", False, "warning", "ribbon cable"), ("", False, "missing", "USB camera"),
        ("", True, "missing", "--device /dev/video0"),
    ],
)  # fmt: skip
def test_no_camera(tmp_path: Path, board: str, is_container: bool, verdict: str, fix: str) -> None:
    mark = tmp_path / ".containerenv"
    if is_container:
        mark.touch()
    [check] = video_devices.check_cameras(make_board(board=board, cameras=None), [], (mark,))
    assert (check.verdict, fix in check.fix) == (verdict, True)


def test_the_device_of_a_group_that_the_user_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_devices, "get_user_name", lambda: "ann")
    device = VideoDevice(Path("/dev/video0"), "Webcam", None, "root")
    [check] = video_devices.check_cameras(make_board(board="", cameras=None), [device])
    assert check.fix == "sudo usermod -aG root ann, then log out and in again"


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    [check] = storage.check_cache(tmp_path / "file" / "edgepose")
    assert check.verdict == "failed"
    [check] = storage.check_cache(tmp_path / "new" / "edgepose")
    assert check.verdict in ("ok", "warning")
    assert "0 files" in check.seen


def test_folders_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.toml").write_text("[bad]\n")
    monkeypatch.setenv("EDGEPOSE_MODELS", f"{tmp_path}:{tmp_path}/missing")
    verdicts = [check.verdict for check in storage.check_models()]
    assert verdicts == ["ok", "ok", "warning", "failed"]


def test_picamera2_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = "ModuleNotFoundError: No module named 'picamera2'"
    monkeypatch.setattr(packages, "_SYSTEM_PACKAGES", tmp_path)
    assert "apt install python3-picamera2" in packages._check_picamera2(error).fix
    (tmp_path / "picamera2").mkdir()
    assert "--system-site-packages" in packages._check_picamera2(error).fix
    mismatch = packages._check_picamera2("ValueError: numpy.dtype size changed, may indicate binary incompatibility")
    assert mismatch.verdict == "failed"
    assert "'numpy<2'" in mismatch.fix


def test_keys_and_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [check] = deploy_tools.check_ssh(tmp_path, "")
    assert check.verdict == "missing"
    (tmp_path / "id_ed25519.pub").touch()
    [check] = deploy_tools.check_ssh(tmp_path, "")
    assert check.seen.endswith("keys: id_ed25519")
    monkeypatch.setenv("PATH", "")
    [check] = deploy_tools.check_ssh(tmp_path, "")
    assert "openssh-client" in check.fix
    checkout = tmp_path / "checkout"
    (checkout / "dist").mkdir(parents=True)
    (checkout / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    checks = get_checks(deploy_tools.check_deploy_tools(checkout))
    assert (checks["wheels for boards"].verdict, checks["wheels for boards"].fix) == ("missing", "make wheels")
    assert "apt install make gcc" in checks["build tools"].fix
    monkeypatch.setattr(deploy_tools, "get_version", lambda: "1.2")
    (checkout / "dist/edgepose-1.2-1board-cp311-abi3-manylinux2014_aarch64.whl").touch()
    seen = get_checks(deploy_tools.check_deploy_tools(checkout))["wheels for boards"].seen
    assert seen.endswith("has none for armv7l (32-bit Raspberry Pi OS)")
    (checkout / "dist/edgepose-1.2-1board-cp311-abi3-manylinux2014_armv7l.whl").touch()
    assert get_checks(deploy_tools.check_deploy_tools(checkout))["wheels for boards"].verdict == "ok"
    monkeypatch.setattr(deploy_tools, "get_version", lambda: "1.3")
    assert "other versions" in get_checks(deploy_tools.check_deploy_tools(checkout))["wheels for boards"].seen


def test_what_the_cache_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    [check] = storage.check_cache(tmp_path / "file" / "edgepose")
    assert check.seen.endswith(f"cannot be written; {tmp_path}/file is not a folder")
    assert check.fix.startswith(f"rename {tmp_path}/file, or set XDG_CACHE_HOME")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    [check] = storage.check_cache(tmp_path / "loop" / "edgepose")
    assert check.verdict == "failed"
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    [check] = storage.check_cache(tmp_path / "new")
    assert check.fix.startswith(f"sudo chown -R $USER {tmp_path}, or")


def test_a_user_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_no_home(name: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_dir", find_no_home)
    for checks in (storage.check_cache(), storage.check_models()):
        last = list(checks)[-1]
        assert (last.verdict, last.fix) == ("failed", "set XDG_CACHE_HOME to a folder")


def test_models_in_the_home_folder_of_an_unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_MODELS", "~no-such-user/models")
    assert "~no-such-user/models" in list(storage.check_models())[-1].seen


def test_folders_that_the_user_may_not_read(tmp_path: Path) -> None:
    """Without root's rights to read everything, also if the test runs as root."""
    private = tmp_path / "private"
    (private / "models").mkdir(parents=True)
    private.chmod(0)
    code = (
        "import sys; from pathlib import Path; from edgepose.device.doctor import storage\n"
        "print([check.verdict for checks in (storage.check_cache(Path(sys.argv[1], 'x')), storage.check_models())"
        " for check in checks])"
    )
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    if drop and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    done = subprocess.run(
        [*drop, sys.executable, "-c", code, str(private)], capture_output=True, text=True, check=False,
        env={**os.environ, "EDGEPOSE_MODELS": str(private / "models")},
    )  # fmt: skip
    private.chmod(0o700)
    if "setpriv:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout.startswith("['failed', 'ok', 'warning'"), done.stderr


def test_the_folder_of_the_report_is_checked_first(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgepose.runtime.cli", "doctor", "--report", str(tmp_path / "no" / "r.md")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert f"there is no folder {tmp_path}/no" in done.stderr


@pytest.mark.parametrize("arguments", [("--ask-sudo-password",), ("--accept-new",), ("-i", "key")])
def test_options_of_boards_need_a_board(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgepose.runtime.cli", "doctor", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"edgepose doctor: {arguments[0]}"), done.stderr
    assert "expected HOST" in done.stderr
