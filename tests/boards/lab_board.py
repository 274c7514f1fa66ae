"""Emulated board: a copy-on-write tree over a root of `lab_root.py`, booted by systemd-nspawn with qemu-user."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

PORT = 2222
# ELF files for Arm with 64 and 32 bits; the last byte of e_type is ignored (as in Debian's qemu-*.conf).
_MAGIC = {
    "qemu-aarch64": r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    "qemu-arm": r"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00",
}
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


def missing() -> str:
    """Return the reason why this machine cannot emulate boards, or an empty string."""
    if os.geteuid() != 0:
        return "boards need root"
    for name, package in (
        ("systemd-nspawn", "systemd-container"),
        ("mmdebstrap", "mmdebstrap"),
        ("ssh", "openssh-client"),
    ):
        if shutil.which(name) is None:
            return f"boards need {name}: apt install {package}"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "boards need a kernel with overlayfs"
    if not _BINFMT.exists():
        return "boards need a kernel with binfmt_misc"
    return ""


def emulate(folder: Path) -> None:
    """Register the emulators in a folder for arm64 and armhf programs in the kernel.

    Flag C makes sudo work inside. With flag F, no tree needs a copy of the emulator.
    """
    if not (_BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", _BINFMT], check=True)
    for name, magic in _MAGIC.items():
        known, emulator = _BINFMT / name, folder / name
        if known.exists():
            about = known.read_text()
            if str(emulator) in about and "flags: POCF" in about:
                continue
            known.write_text("-1")
        (_BINFMT / "register").write_text(f":{name}:M::{magic}:{_MASK}:{emulator}:POCF")


class Board:
    """Emulated board. `number` selects its loopback address."""

    def __init__(self, name: str, number: int, base: Path, folder: Path, key: Path) -> None:
        self.name, self.address = name, f"127.0.0.{number}"
        self.root, self.folder, self.key = folder / "root", folder, key
        self._base = base
        self._process: subprocess.Popen[bytes] | None = None
        self._make()

    @property
    def target(self) -> str:
        """Address of the board for `edgepose deploy`."""
        return f"pi@{self.address}:{PORT}"

    def _make(self) -> None:
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={self._base},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.root], check=True)
        etc = self.root / "etc"
        host_key = etc / "ssh/ssh_host_ed25519_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host_key], check=True)
        (etc / "ssh/sshd_config").write_text(
            f"Port {PORT}\nListenAddress {self.address}\nHostKey /etc/ssh/ssh_host_ed25519_key\n"
            "PasswordAuthentication no\nUsePAM no\nMaxStartups 50\nSubsystem sftp /usr/lib/openssh/sftp-server\n"
        )
        (etc / "machine-id").write_text(uuid.uuid4().hex + "\n")
        (etc / "hostname").write_text(self.name + "\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost {self.name}\n")

    def boot(self, timeout_s: float = 90) -> None:
        """Boot the board and wait until ssh answers."""
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--resolv-conf=off",
                   "--link-journal=no", "-D", self.root, "-b"]  # fmt: skip
        with (self.folder / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                with socket.create_connection((self.address, PORT), 1) as link:
                    link.settimeout(20)
                    if link.recv(4) == b"SSH-":
                        return
            except OSError:
                time.sleep(0.3)
        raise TimeoutError(f"{self.name}: no ssh after {timeout_s:.0f} s; see {self.folder / 'console.log'}")

    def cut_power(self) -> None:
        """End all processes of the board at once."""
        if self._process is None:
            return
        leader = self._find_init_pid()
        if leader is not None:
            # If the first process of a PID namespace ends, the kernel ends all others.
            os.kill(leader, signal.SIGKILL)
        self._process.wait(30)
        self._process = None

    def reboot(self) -> None:
        """Cut the power and boot again."""
        self.cut_power()
        self.boot()

    def remove(self) -> None:
        """Remove the board with all its data."""
        self.cut_power()
        subprocess.run(["umount", "-l", self.root], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_user(self, name: str, uid: int, password: str, *groups: str) -> None:
        """Create a user who logs in with the key of the lab; sudo asks for the password."""
        etc, home = self.root / "etc", self.root / "home" / name
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True
        ).stdout.strip()
        for file, line in (
            ("passwd", f"{name}:x:{uid}:{uid}::/home/{name}:/bin/bash"), ("group", f"{name}:x:{uid}:"),
            ("shadow", f"{name}:{hashed}:19000:0:99999:7:::"),
        ):  # fmt: skip
            with (etc / file).open("a") as text:
                text.write(f"{line}\n")
        entries = (etc / "group").read_text().splitlines()
        for index, entry in enumerate(entries):
            if entry.partition(":")[0] in groups:
                entries[index] = entry + ("" if entry.endswith(":") else ",") + name
        (etc / "group").write_text("\n".join(entries) + "\n")
        (home / ".ssh").mkdir(parents=True)
        shutil.copy(self.key.with_suffix(".pub"), home / ".ssh/authorized_keys")
        subprocess.run(["chown", "-R", f"{uid}:{uid}", home], check=True)
        # The other services of the lab accept every login.
        (etc / "pam.d/sudo").write_text(
            "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
        )

    def ssh(self, command: str, check: bool = True, user: str = "pi") -> str:
        """Run a shell command as a user and return its output."""
        done = subprocess.run(
            ["ssh", "-p", str(PORT), "-i", self.key, "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null",
             "-o", "LogLevel=ERROR", f"{user}@{self.address}", command],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def _find_init_pid(self) -> int | None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        # The child of nspawn that is the first process of its own PID namespace.
        for child in children:
            status = Path(f"/proc/{child}/status").read_text()
            line = next((line for line in status.splitlines() if line.startswith("NSpid")), "")
            if line.split()[-1] == "1":
                return int(child)
        return None
