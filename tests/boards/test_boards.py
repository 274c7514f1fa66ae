"""`edgepose deploy` and related commands with real systems: Debian for arm64 with systemd and sshd, see lab_board.py.

The tests depend on each other and run in this order. `make test-boards` runs them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

import pytest

from edgepose.device.deploy import units

from ..conftest import run_edgepose
from . import lab_board
from .lab import BASE, ROOT, Done, Lab, rows, state, wait_for
from .lab_board import Board

pytestmark = [pytest.mark.boards, pytest.mark.skipif(bool(lab_board.missing()), reason=lab_board.missing() or "-")]
HEALTH = ["--health-seconds", "5"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(ROOT / "build/pi/lab")
    yield made
    made.end()


@pytest.fixture(scope="module")
def one(lab: Lab) -> Board:
    return lab.board("one", 11)


@pytest.fixture(scope="module")
def models(lab: Lab) -> dict[str, Path]:
    """Convert two small networks. An emulated board needs half a second per frame."""
    made = {}
    for name, size in (("a", "192x160"), ("b", "176x144")):
        made[name] = lab.folder / f"{name}.tflite"
        if not made[name].exists():
            calibration = ["--calibration", str(images())]
            run_edgepose("convert", "mobilenet_v2_small", "-o", made[name], "--stages", "2", "--input-size", size,
                         "--precision", "int8", *calibration)  # fmt: skip
        assert made[name].exists()
    return made


@pytest.fixture(scope="module")
def other(lab: Lab) -> list[str]:
    """Return options for another build of edgepose, which requires a new environment."""
    return ["--wheels", str(lab.wheels("other", {"edgepose/device/__init__.py": '"""Another build."""\n'}))]


def images() -> Path:
    from ..conftest import find_test_data

    return find_test_data("calibration") / "images"


def deploy(lab: Lab, model: Path, *boards: Board, more: list[str] | None = None, source: str = "synthetic:1") -> Done:
    options = ["-m", str(model), "--config", str(lab.config(source)), *HEALTH, *(more or [])]
    return lab.edgepose("deploy", *(board.address for board in boards), more=options)


def test_an_unknown_board_is_not_trusted(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    done = deploy(lab, models["a"], one)
    assert done.code == 1
    assert "its host key is not known" in done.out
    assert state(one)["current"] == ""


def test_fresh_install(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    planned = deploy(lab, models["a"], one, more=["--accept-new", "--dry-run"])
    assert planned.code == 0
    assert "would be changed" in planned.out
    assert state(one)["current"] == ""
    done = deploy(lab, models["a"], one)
    assert done.code == 0, done.out
    seen = wait_for(one)
    assert seen["current"] in done.out
    time.sleep(4)
    row = rows(lab.edgepose("status", one.address, more=["--json"]))[one.address]
    assert row["state"] == "running"
    assert row["fps"] > 0
    assert row["release"] == seen["current"]
    megabytes = int(one.ssh(f"sudo du -sm {BASE}").split()[0])
    print(f"installed: {megabytes} MB")
    assert megabytes < 250


def test_root_owns_the_files_and_no_port_is_open(one: Board) -> None:
    # The service user can read its program. The login user owns the folder of uploads.
    assert one.ssh(f"sudo find {BASE} ! -user root") == f"{BASE}/uploads/1000"
    assert one.ssh(f"sudo stat -c '%a %G' {BASE}/current/camera.toml") == "640 edgepose"
    assert one.ssh(f"sudo find {BASE} /usr/local/lib/edgepose -perm /o+w ! -type l") == ""
    assert one.ssh("sudo find /usr/local/lib/edgepose /etc/systemd/system/edgepose* ! -user root") == ""
    assert one.ssh("ps -o user= -p $(systemctl show edgepose -p MainPID --value)").strip() == "edgepose"
    # The board shares the network of this machine, so only sockets of the service are checked.
    process = one.ssh("systemctl show edgepose -p MainPID --value")
    assert "sshd" in one.ssh("sudo ss -Hltnp"), "sockets of the board are seen with their processes"
    assert one.ssh(f"sudo ss -Hlnp | grep pid={process},", check=False) == ""


def test_the_unit_runs_in_a_sandbox(tmp_path: Path) -> None:
    unit = tmp_path / "edgepose.service"
    unit.write_text(units.make_service_unit(units.CAMERA_GROUPS))
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=40", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]
    assert float(done.stdout.rpartition("edgepose.service: ")[2].split()[0]) <= 1.5


def test_a_repeated_deployment_changes_nothing(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    before = state(one)
    one.ssh("touch /tmp/mark")
    done = deploy(lab, models["a"], one)
    assert done.code == 0
    assert "nothing to change" in done.out
    print(f"repeated: {done.seconds:.1f} s")
    changed = one.ssh(f"sudo find {BASE} /etc /usr/local /var/lib/edgepose -newer /tmp/mark ! -name 'poses.jsonl*'")
    assert [line for line in changed.splitlines() if line not in ("/var/lib/edgepose",)] == []
    assert state(one) == before


def test_upgrade_of_the_model(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    before = state(one)["current"]
    done = deploy(lab, models["b"], one)
    assert done.code == 0
    print(f"upgraded: {done.seconds:.1f} s")
    assert "environment" not in done.err
    assert state(one)["current"] != before
    assert before in state(one)["releases"]


def test_rollback_twice(lab: Lab, one: Board) -> None:
    new = state(one)["current"]
    assert lab.edgepose("rollback", one.address, more=HEALTH).code == 0
    old = state(one)["current"]
    assert old != new
    assert lab.edgepose("rollback", one.address, more=["--to", new, *HEALTH]).code == 0
    assert state(one)["current"] == new
    refused = lab.edgepose("rollback", one.address, more=["--to", "20200101T000000-00000000", *HEALTH])
    assert refused.code == 1
    assert "there is no release 20200101T000000-00000000" in refused.out
    assert wait_for(one)["current"] == new


def test_doctor_and_logs(lab: Lab, one: Board) -> None:
    done = lab.edgepose("doctor", one.address, more=["--json"])
    checks = {check["name"]: check for check in json.loads(done.out)["boards"][one.address]}
    assert checks["Python packages"]["verdict"] == "ok", checks
    assert checks["service"]["verdict"] == "ok"
    assert checks["NumPy from apt"]["seen"].startswith("1.24")
    assert checks["picamera2"]["verdict"] == "warning"
    logs = lab.edgepose("logs", one.address, more=["-n", "20"])
    assert logs.code == 0
    assert "edgepose" in logs.out


def test_a_loop_that_hangs_is_restarted(one: Board) -> None:
    before = wait_for(one)
    one.ssh(f"sudo kill -STOP {before['MainPID']}")
    end = time.monotonic() + 100
    while state(one)["MainPID"] == before["MainPID"]:
        assert time.monotonic() < end, "the watchdog did nothing"
        time.sleep(2)
    after = wait_for(one)
    assert int(after["NRestarts"]) > int(before["NRestarts"])


def test_the_service_starts_after_a_reboot(lab: Lab, one: Board) -> None:
    before = state(one)["current"]
    one.reboot()
    assert wait_for(one)["current"] == before


def test_a_model_that_is_broken_never_leaves_the_workstation(
    lab: Lab, one: Board, models: dict[str, Path], tmp_path: Path
) -> None:
    before = state(one)
    broken = tmp_path / "broken.tflite"
    content = bytearray(models["a"].read_bytes())
    content[20_000] ^= 0xFF
    broken.write_bytes(content)
    done = deploy(lab, broken, one)
    assert done.code == 2
    assert "damaged" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert state(one) == before


def test_a_broken_wheel_fails_its_self_test(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    before = state(one)
    wheels = lab.wheels(
        "broken", {"edgepose/runtime/preprocess.py": "raise ImportError('built for another machine')\n"}
    )
    done = deploy(lab, models["a"], one, more=["--wheels", str(wheels)])
    assert done.code == 1
    assert "self-test" in done.out
    assert "built for another machine" in done.out
    after = state(one)
    assert (after["current"], after["MainPID"]) == (before["current"], before["MainPID"]), "the old one was not touched"


def test_an_unhealthy_release_is_rolled_back(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    before = state(one)["current"]
    done = deploy(lab, models["a"], one, source="v4l2:9")
    assert done.code == 1
    assert "no such camera" in done.out, "the reason is given"
    assert f"{before} runs again" in done.out
    assert wait_for(one)["current"] == before


def test_a_full_disk(lab: Lab, one: Board, models: dict[str, Path], other: list[str]) -> None:
    before = state(one)
    one.ssh(f"sudo mount -t tmpfs -o size=8m,mode=755 tmpfs {BASE}/uploads")
    try:
        done = deploy(lab, models["a"], one, more=other)
    finally:
        one.ssh(f"sudo umount -l {BASE}/uploads")
    assert done.code == 1
    assert "environment" in done.out
    after = state(one)
    assert (after["current"], after["MainPID"]) == (before["current"], before["MainPID"])


STEPS = ("MB", "unpacked and compiled", "activate", "self-test", "switch to +1", "switch to +6", "switch to +12")


@pytest.mark.parametrize("step", STEPS)
def test_power_cut(lab: Lab, one: Board, models: dict[str, Path], other: list[str], step: str) -> None:
    """Cut the power at a step. After the next boot, the old or the new release must run."""
    if one._process is None:
        one.boot()
    old = wait_for(one)["current"]
    if step == "activate":
        one.ssh("sudo rm /usr/local/lib/edgepose/activate")
    word, _, delay = step.partition(" +")
    options = ["-m", str(models["a"]), "--config", str(lab.config()), *other, *HEALTH]
    words = lab.words("deploy", one.address, more=options)
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=lab.environment()
    ) as running:
        assert running.stderr is not None
        said = []
        for line in running.stderr:
            said.append(line)
            if word in line:
                break
        else:
            raise AssertionError(f"the step {word} did not come: {''.join(said)}")
        time.sleep(float(delay or 0.7))
        one.cut_power()
        running.kill()
    one.boot()
    seen = wait_for(one, timeout_s=120)
    assert seen["current"] == old or seen["current"] in one.ssh(f"ls {BASE}/releases").split()
    assert one.ssh(f"test -e {BASE}/current/release.json && echo whole") == "whole"


def test_deployment_works_after_the_power_cuts(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    done = deploy(lab, models["b"], one)
    assert done.code == 0, done.out
    wait_for(one)
    assert one.ssh(f"ls -A {BASE}/releases {BASE}/environments | grep '^[.]'", check=False) == "", "no halves are left"
    assert one.ssh(f"sudo ls -A {BASE}/staging {BASE}/uploads/1000 | grep tar", check=False) == ""
    assert len(state(one)["releases"]) <= 3, "old ones are pruned"


def test_a_deployment_continues_after_the_connection_is_lost(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    old = state(one)["current"]
    options = ["-m", str(models["a"]), "--config", str(lab.config()), *HEALTH]
    words = lab.words("deploy", one.address, more=options)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=lab.environment()) as running:
        assert running.stderr is not None
        next(line for line in running.stderr if "switch to" in line)
        time.sleep(3)
        running.kill()
    time.sleep(25)
    seen = wait_for(one)
    assert seen["current"] != old
    assert one.ssh(f"test -e {BASE}/healthy/{seen['current']} && echo healthy") == "healthy"


ATTACK = r"""
import os
os.chdir("/")
def plant(path, target):
    try:
        os.path.lexists(path) and os.unlink(path)
        os.symlink(target, path)
        print("planted", path)
    except OSError:
        pass
B = "/opt/edgepose"
for folder in (B, f"{B}/current", f"{B}/releases", f"{B}/environments", f"{B}/healthy", f"{B}/staging",
               f"{B}/uploads", f"{B}/uploads/1000", f"{B}/current/venv/lib/python3.11/site-packages", "/etc/edgepose",
               "/etc/systemd/system", "/usr/local/lib/edgepose"):
    for name in ("healthy", "x$(touch /root/pwned)", "20990101T000000-00000000", ".x", "usercustomize.py"):
        plant(f"{folder}/{name}", "/root")
for name in ("releases", "environments", "healthy", "current", "previous", "staging", "uploads", ".lock"):
    try:
        os.rename(f"{B}/{name}", f"{B}/{name}.old")
        print("renamed", name)
    except OSError:
        pass
    plant(f"{B}/{name}", "/etc")
try:
    os.link("/etc/shadow", f"{B}/releases/shadow")
    print("linked")
except OSError:
    pass
S = "/var/lib/edgepose"
code = "import os\nopen('/tmp/planted-' + str(os.getuid()), 'w').write('x')\n"
code += "open('/var/lib/edgepose/planted', 'a').write('x')\n"
for version in ("3.11", "3.13"):
    site = f"{S}/.local/lib/python{version}/site-packages"
    os.makedirs(site, exist_ok=True)
    open(f"{site}/usercustomize.py", "w").write(code)
    open(f"{site}/sitecustomize.py", "w").write(code)
    open(f"{site}/evil.pth", "w").write("import usercustomize\n")
os.makedirs(f"{S}/edgepose", exist_ok=True)
open(f"{S}/edgepose/__init__.py", "w").write(code)
open(f"{S}/json.py", "w").write(code)
plant("/run/edgepose/status.json", "/etc/shadow")
plant("/run/lock/edgepose-activate", "/etc/passwd")
plant("/tmp/edgepose-activate", "/etc/passwd")
"""


def fingerprint(board: Board) -> str:
    """Return a hash of all files except the folders of the service and files that change by themselves."""
    return board.ssh(
        "sudo sh -c 'cd / && find etc root opt usr/local home var/spool lib/systemd -xdev "
        '! -path "home/pi/.ansible*" -printf "%p %u %g %m %s %l\\n" | sort | sha256sum\''
    )


def test_the_service_user_attacks(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    """No other user executes files of the service user, and root follows none of its links, in any later step."""
    wait_for(one)
    before = fingerprint(one)
    one.ssh(f"sudo -u edgepose python3 -I - <<'PY'\n{ATTACK}\nPY")
    assert fingerprint(one) == before, "outside its own folders it can change nothing"
    one.ssh("sudo rm -f /tmp/planted-*; test -e /var/lib/edgepose/json.py")
    for command, more in (("status", []), ("doctor", []), ("rollback", HEALTH)):
        done = lab.edgepose(command, one.address, more=more)
        assert "Traceback" not in done.err, done.err
    assert deploy(lab, models["a"], one).code == 0
    assert deploy(lab, models["b"], one).code == 0
    one.reboot()
    wait_for(one)
    assert one.ssh("ls /tmp/planted-* /root/pwned /var/lib/edgepose/planted 2>/dev/null", check=False) == ""
    assert one.ssh(f"sudo find {BASE} ! -user root") == f"{BASE}/uploads/1000"
    assert one.ssh("sudo find /etc /root /usr/local -user edgepose") == ""
    assert one.ssh("sudo head -1 /etc/passwd").startswith("root:")


def test_a_board_of_the_old_layout_is_taken_over(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    """The service user owned everything and has placed files to attack root in the next deployment."""
    one.ssh("sudo sh -c 'mkdir -p /root/victim /etc/victim && echo 1 > /root/victim/file && echo 1 > /etc/victim/file'")
    one.ssh(f"sudo rm -rf {BASE}/healthy {BASE}/staging {BASE}/uploads {BASE}/.lock")
    one.ssh(f"sudo chown -R -h edgepose:edgepose {BASE}")
    one.ssh(
        f"sudo -u edgepose sh -c 'cd {BASE} && ln -s /etc/victim/file current/healthy; mkdir releases/.old && "
        "ln -s /root/victim releases/.old/x; ln -s /etc/victim environments/.y; ln -s /etc/victim healthy; "
        "ln -s /etc/victim staging; ln -s /etc/victim uploads; ln -sf /etc/victim/file .lock; "
        'mkdir "releases/x\\$(touch pwned)"; ln -s /etc/victim releases/20990101T000000-00000000; '
        "for e in environments/*; do echo import os > $e/lib/python3.11/site-packages/evil.pth; done'"
    )
    refused = lab.edgepose("rollback", one.address, more=HEALTH)
    assert refused.code == 1
    assert "run `edgepose deploy` once" in refused.out
    assert deploy(lab, models["a"], one).code == 0
    wait_for(one)
    assert one.ssh(f"sudo find {BASE} ! -user root") == f"{BASE}/uploads/1000"
    assert one.ssh(f"sudo find {BASE} -name evil.pth") == ""
    assert len(state(one)["releases"]) == 1, "what the service user could change is gone"
    assert one.ssh("sudo find /root/victim /etc/victim -printf '%p %u %s;'") == (
        "/root/victim root 4096;/root/victim/file root 2;/etc/victim root 4096;/etc/victim/file root 2;"
    )
    assert "nothing to change" in deploy(lab, models["a"], one).out


def test_one_dead_board_among_three(lab: Lab, one: Board, models: dict[str, Path]) -> None:
    two = lab.board("two", 12)
    boards = [f"pi@127.0.0.99:{lab_board.PORT}", one.address, two.address]
    options = ["-m", str(models["b"]), "--config", str(lab.config()), "--accept-new", *HEALTH]
    done = lab.edgepose("deploy", *boards, more=options)
    assert done.code == 1
    lines = done.out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == boards, "in the user's order"
    assert "FAILED: cannot be reached" in lines[0]
    assert lines[1].endswith("healthy")
    assert lines[2].endswith("healthy")
    listed = lab.edgepose("status", *boards)
    assert listed.code == 1
    assert "no answer" in listed.out
    failed = deploy(lab, models["a"], one, two, source="v4l2:9")
    assert failed.code == 1
    assert f"{two.address}: FAILED: not changed: {one.address} failed first" in failed.out


def test_a_changed_host_key_is_refused(lab: Lab, models: dict[str, Path]) -> None:
    two = next(board for board in lab.boards if board.name == "two")
    two.ssh(
        "sudo rm /etc/ssh/ssh_host_ed25519_key*; sudo ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"
    )
    two.ssh("sudo systemctl restart ssh", check=False)
    time.sleep(2)
    done = deploy(lab, models["a"], two, more=["--accept-new"])
    assert done.code == 1
    assert "host key" in done.out.lower()


def test_trixie(lab: Lab, models: dict[str, Path]) -> None:
    """Deploy to Debian trixie with Python 3.13, NumPy 2 and a newer systemd."""
    three = lab.board("three", 13, "trixie")
    done = deploy(lab, models["a"], three, more=["--accept-new"])
    assert done.code == 0, done.out
    wait_for(three)
    assert three.ssh(f"{BASE}/current/venv/bin/python --version").startswith("Python 3.13")
    self_test = (
        f"cd / && sudo -u edgepose {BASE}/current/venv/bin/python -I -m edgepose.device.camera.self_test {BASE}/current"
    )
    assert "ai-edge-litert" in three.ssh(self_test)
    assert "nothing to change" in deploy(lab, models["a"], three).out


PASSWORD = 'it\'s a "sécret" $HOME'


@pytest.fixture(scope="module")
def four(lab: Lab) -> Board:
    """Return a board with the users that people have: maker (sudo with a password) and guest (no sudo).

    It has the processor of this machine: users and sudo do not depend on it, and emulation is slow.
    """
    board = lab.board("four", 14, architecture="amd64")
    board.add_user("maker", 1001, PASSWORD, "sudo")
    board.add_user("guest", 1002, PASSWORD)
    return board


@pytest.fixture(scope="module")
def password_file(lab: Lab) -> Path:
    path = lab.folder / "session/password"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


def get_check(done: Done, name: str) -> dict[str, str]:
    (checks,) = json.loads(done.out)["boards"].values()
    return next(check for check in checks if check["name"] == name)


def test_doctor_and_dry_run_say_how_to_use_sudo(
    lab: Lab, four: Board, models: dict[str, Path], password_file: Path, tmp_path: Path
) -> None:
    options = ["--accept-new", "--json"]
    assert get_check(lab.edgepose("doctor", four.address, more=options), "sudo")["seen"] == "pi needs no password"
    maker, guest = f"maker@{four.address}", f"guest@{four.address}"
    asked = get_check(lab.edgepose("doctor", maker, more=options), "sudo")
    assert (asked["verdict"], asked["seen"]) == ("failed", "maker needs a password")
    assert "--ask-sudo-password" in asked["fix"]
    planned = lab.edgepose("deploy", maker, more=["-m", str(models["a"]), "--dry-run"])
    assert planned.code == 1
    assert "sudo: maker needs a password: add --ask-sudo-password" in planned.out
    given = ["--json", "--sudo-password-file", str(password_file)]
    assert get_check(lab.edgepose("doctor", maker, more=given), "sudo")["verdict"] == "ok"
    refused = get_check(lab.edgepose("doctor", guest, more=given), "sudo")
    assert refused["seen"] == "guest may not use sudo"
    assert "not in the group sudo" in get_check(lab.edgepose("doctor", guest, more=options), "sudo")["seen"]
    wrong = tmp_path / "wrong"
    wrong.write_text("guess\n")
    wrong.chmod(0o600)
    tried = lab.edgepose("doctor", maker, more=["--json", "--sudo-password-file", str(wrong)])
    assert get_check(tried, "sudo")["seen"] == "the password of maker is not accepted"
    wrong.chmod(0o644)
    public = lab.edgepose("doctor", maker, more=["--sudo-password-file", str(wrong)])
    assert public.code == 2
    assert "other users can read this file; run chmod 600" in public.err


SPY = r"""
import glob, os, sys, time
secret = sys.stdin.buffer.read().strip()
end = time.time() + float(sys.argv[1])
reads = 0
while time.time() < end and not os.path.exists("/tmp/stop-spy"):
    for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            continue
        reads += 1
        if secret in content:
            print("FOUND", path, content[:300])
print("reads", reads)
"""


def test_a_deployment_with_a_sudo_password(lab: Lab, four: Board, models: dict[str, Path], password_file: Path) -> None:
    """The password is in no process list, environment, file or log of the board, and in no output here."""
    four.ssh(f"cat > /tmp/spy.py <<'PY'\n{SPY}\nPY")
    words = ["ssh", "-p", str(lab_board.PORT), "-i", str(four.key), "-o", "StrictHostKeyChecking=no", "-o",
             "UserKnownHostsFile=/dev/null", f"pi@{four.address}", "sudo python3 /tmp/spy.py 300"]  # fmt: skip
    maker, secret = f"maker@{four.address}", ["--sudo-password-file", str(password_file)]
    options = ["-m", str(models["a"]), "--config", str(lab.config()), *HEALTH, *secret]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as spy:
        assert spy.stdin is not None
        spy.stdin.write(PASSWORD)
        spy.stdin.close()
        time.sleep(3)
        # The spy must find this one.
        four.ssh(f"python3 -c 'import time; time.sleep(3)' {quote(f'decoy {PASSWORD}')}", user="guest")
        done = lab.edgepose("deploy", maker, more=[*options, "--verbose"])
        four.ssh("touch /tmp/stop-spy")
        assert spy.stdout is not None
        seen = spy.stdout.read()
    assert done.code == 0, done.out
    assert "decoy" in seen
    assert [line for line in seen.splitlines() if "FOUND" in line and "decoy" not in line] == []
    assert int(seen.rpartition("reads ")[2]) > 100, seen
    assert PASSWORD not in done.out + done.err
    wait_for(four)
    places = "/etc /home /opt /root /run /tmp /usr/local /var"
    found = four.ssh(f"sudo grep -rlF -f - {places} 2> /dev/null <<'EOF'\n{PASSWORD}\nEOF\n", check=False)
    assert found == ""
    assert PASSWORD not in four.ssh("sudo journalctl --no-pager")
    assert "nothing to change" in lab.edgepose("deploy", maker, more=options).out
    assert four.ssh(f"sudo find {BASE} ! -user root") == f"{BASE}/uploads/1001"
    packages = get_check(lab.edgepose("doctor", maker, more=["--json", *secret]), "Python packages")
    assert packages["verdict"] == "ok", packages
    packages = get_check(lab.edgepose("doctor", maker, more=["--json"]), "Python packages")
    assert packages["seen"] == "not checked: this needs sudo"
    # A user whose sudo needs no password can give one: it is never taken for the input of a command.
    assert lab.edgepose("deploy", four.address, more=["-m", str(models["b"]), *options[2:]]).code == 0
    assert four.ssh("sudo grep -rlF sécret /etc /opt /usr/local /var/lib", check=False) == ""
    assert lab.edgepose("rollback", maker, more=[*HEALTH, *secret]).code == 0
    assert "edgepose" in lab.edgepose("logs", maker, more=["-n", "5", *secret]).out
    plain = lab.edgepose("logs", maker)
    assert plain.code == 1
    assert "add --ask-sudo-password" in plain.out


def test_the_password_is_asked_once_for_all_boards(lab: Lab, four: Board) -> None:
    """On a terminal: one prompt, and the password is not shown."""
    import pty

    boards = [f"maker@{four.address}", f"guest@{four.address}"]
    words = lab.words("doctor", *boards, more=["--ask-sudo-password"])
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(words[0], words, lab.environment())
    shown = b""
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        while b"password for all boards: " not in shown:
            shown += screen.read(1000)
        screen.write(f"{PASSWORD}\n".encode())
        with contextlib.suppress(OSError):  # the end of a terminal
            while block := screen.read(10000):
                shown += block
    os.waitpid(child, 0)
    text = shown.decode()
    assert text.count("sudo password") == 1
    assert PASSWORD not in text
    assert "the password of maker is accepted" in text
    assert "guest may not use sudo" in text
    # Without a terminal there is nobody to ask.
    done = subprocess.run(words, capture_output=True, text=True, env=lab.environment(), start_new_session=True)
    assert done.returncode == 2
    assert "--sudo-password-file" in done.stderr


def test_a_32_bit_board(lab: Lab, models: dict[str, Path]) -> None:
    """Boot Debian bookworm for armhf and deploy: OpenCV from apt, tflite-runtime, our wheel for armv7l."""
    five = lab.board("five", 15, architecture="armhf")
    found = lab.edgepose("doctor", five.address, more=["--accept-new", "--json"])
    assert "armv7l" in get_check(found, "system and Python")["seen"], found.out
    assert get_check(found, "32 or 64 bits")["verdict"] == "ok"
    done = deploy(lab, models["a"], five)
    assert done.code == 0, done.out
    wait_for(five)
    self_test = (
        f"cd / && sudo -u edgepose {BASE}/current/venv/bin/python -I -m edgepose.device.camera.self_test {BASE}/current"
    )
    assert "tflite-runtime" in five.ssh(self_test)
    assert "nothing to change" in deploy(lab, models["a"], five).out
