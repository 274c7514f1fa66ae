"""Root file system with Debian that systemd boots: for arm64 and armhf under qemu-user, for amd64 on the processor.

No maintainer script runs, so nothing is emulated while the tree is built (half a minute). The necessary steps of these
scripts are done below.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

PACKAGES = (
    "python3", "python3-venv", "python3-numpy", "openssh-server", "systemd", "systemd-sysv", "dbus", "sudo", "udev",
    "base-passwd", "base-files", "bash", "coreutils", "dash", "debianutils", "diffutils", "findutils", "grep", "gzip",
    "hostname", "login", "mawk", "mount", "passwd", "sed", "tar", "util-linux", "procps", "ca-certificates", "adduser",
    "apt", "kmod", "iproute2", "libgl1", "libglib2.0-0",
)  # fmt: skip
_USERS = """\
sshd:x:105:65534::/run/sshd:/usr/sbin/nologin
messagebus:x:106:106::/nonexistent:/usr/sbin/nologin
systemd-network:x:102:102::/:/usr/sbin/nologin
systemd-resolve:x:103:103::/:/usr/sbin/nologin
pi:x:1000:1000::/home/pi:/bin/bash
"""
_GROUPS = """\
messagebus:x:106:
systemd-journal:x:101:
systemd-network:x:102:
systemd-resolve:x:103:
input:x:104:
sgx:x:107:
kvm:x:108:
render:x:109:
pi:x:1000:
"""
_PAM = {
    "auth": "auth required pam_permit.so", "account": "account required pam_permit.so",
    "session": "session required pam_permit.so", "session-noninteractive": "session required pam_permit.so",
    "password": "password required pam_unix.so",
}  # fmt: skip
_MASKED = (
    "systemd-firstboot.service", "systemd-machine-id-commit.service", "systemd-udevd.service",
    "systemd-udev-trigger.service", "systemd-timesyncd.service", "systemd-logind.service", "ssh.socket",
    "apt-daily.timer",
    "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer", "dpkg-db-backup.timer",
)  # fmt: skip
# Units that use credentials. qemu 7.2 does not implement the mount calls that they need.
_NO_CREDENTIALS = (
    "systemd-sysusers", "systemd-tmpfiles-setup", "systemd-tmpfiles-setup-dev", "systemd-tmpfiles-clean",
    "systemd-tmpfiles-setup-dev-early", "systemd-journald", "systemd-sysctl", "systemd-vconsole-setup",
)  # fmt: skip


TRIPLETS = {"arm64": "aarch64-linux-gnu", "armhf": "arm-linux-gnueabihf", "amd64": "x86_64-linux-gnu"}
"""Names of the library folders by Debian architecture."""


def make(root: Path, suite: str, key: Path, architecture: str = "arm64") -> None:
    """Build the tree if it does not exist.

    Args:
        root: Folder of the tree.
        suite: Debian release.
        key: Public key for the login as `pi`.
        architecture: Debian name of the processor, see `TRIPLETS`.

    Raises:
        CalledProcessError: If a command fails.
    """
    done = root / "var/edgepose-lab"
    if done.exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    # For 32 bits there are no wheels of OpenCV. On a real board, `deploy` installs the package with apt.
    names = (*PACKAGES, "python3-opencv") if architecture == "armhf" else PACKAGES
    packages = [name if suite == "bookworm" else name.replace("libglib2.0-0", "libglib2.0-0t64") for name in names]
    subprocess.run(
        ["mmdebstrap", "--quiet", f"--arch={architecture}", "--variant=extract", "--skip=check/qemu,cleanup/apt",
         '--aptopt=Acquire::Check-Valid-Until "false"', f"--include={','.join(packages)}", suite, root, mirror()],
        check=True,
    )  # fmt: skip
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (root / name).exists() and (root / "usr" / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in (
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "opt",
        "srv",
        "mnt",
        "media",
        "root",
        "home/pi/.ssh",
        "etc/sudoers.d",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    _write_package_list(root)
    _create_users(root, key)
    _configure_services(root)
    _turn_off_namespaces(root, mounts=suite == "bookworm")
    libraries = root / "usr/lib" / TRIPLETS[architecture]
    for name in ("blas", "lapack"):
        (libraries / f"lib{name}.so.3").unlink(missing_ok=True)
        (libraries / f"lib{name}.so.3").symlink_to(f"{name}/lib{name}.so.3")
    done.write_text(suite)


def emulator(folder: Path) -> Path:
    """Install QEMU of Debian trixie and return the folder of its programs.

    That of bookworm cannot start trixie's systemd (clone with a pidfd).
    """
    program = folder / "usr/bin/qemu-aarch64"
    if not program.exists():
        shutil.rmtree(folder, ignore_errors=True)
        words = ["mmdebstrap", "--quiet", "--variant=extract", "--include=qemu-user", "trixie", folder, mirror()]
        subprocess.run(words, check=True)
    return program.parent


def mirror() -> str:
    """Return the Debian mirror in the apt sources of this machine."""
    places = [*Path("/etc/apt/sources.list.d").glob("*.sources"), *Path("/etc/apt").glob("sources.list")]
    text = "\n".join(path.read_text() for path in places)
    found = re.search(r"^URIs:\s*(\S+)|^deb\s+(?:\[.*?\]\s+)?(http\S+)", text, re.MULTILINE)
    if found is None:
        raise RuntimeError("no Debian mirror in this machine's apt sources")
    return found[1] or found[2]


def _turn_off_namespaces(root: Path, *, mounts: bool) -> None:
    """Turn off what the emulator lacks: user and network namespaces, and mount namespaces for newer systemd."""
    lines = ["PrivateUsers=no", "PrivateNetwork=no"]
    if not mounts:
        lines += [
            "ProtectSystem=no", "ProtectHome=no", "PrivateTmp=no", "ProtectProc=default", "ProtectControlGroups=no",
            "ProtectKernelTunables=no", "ProtectKernelModules=no", "ProtectKernelLogs=no", "PrivateMounts=no",
        ]  # fmt: skip
    for name in ("edgepose", "edgepose-recover", "edgepose-self-test", "edgepose-imports"):
        folder = root / f"etc/systemd/system/{name}.service.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lab.conf").write_text("[Service]\n" + "\n".join(lines) + "\n")


def _write_package_list(root: Path) -> None:
    """Write dpkg's list of installed packages and remove the archives."""
    archives = root / "var/cache/apt/archives"
    entries = []
    for archive in sorted(archives.glob("*.deb")):
        fields = subprocess.run(["dpkg-deb", "-f", archive], check=True, capture_output=True, text=True).stdout
        entries.append(fields.rstrip().replace("\n", "\nStatus: install ok installed\n", 1))
        archive.unlink()
    status = root / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True, exist_ok=True)
    status.write_text("\n\n".join(entries) + "\n\n")
    for name in ("info", "updates", "triggers"):
        (status.parent / name).mkdir(exist_ok=True)
    for lists in (root / "var/lib/apt/lists").glob("*_*"):
        lists.unlink()


def _create_users(root: Path, key: Path) -> None:
    """Create the users of the maintainer scripts, and `pi` (group video, sudo without a password)."""
    for name, more in (("passwd", _USERS), ("group", _GROUPS)):
        master = (root / f"usr/share/base-passwd/{name}.master").read_text()
        (root / "etc" / name).write_text(master.replace("video:*:44:", "video:*:44:pi") + more)
    users = [line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    (root / "etc/shadow").write_text("".join(f"{user}:*:19000:0:99999:7:::\n" for user in users))
    (root / "etc/shadow").chmod(0o640)
    (root / "etc/sudoers.d/010_pi").write_text("pi ALL=(ALL) NOPASSWD: ALL\n")
    (root / "etc/sudoers.d/010_pi").chmod(0o440)
    keys = root / "home/pi/.ssh/authorized_keys"
    keys.write_text(key.read_text())
    subprocess.run(["chown", "-R", "1000:1000", root / "home/pi"], check=True)
    for folder in (root / "home/pi", root / "home/pi/.ssh"):
        folder.chmod(0o700)
    for service, line in _PAM.items():
        (root / f"etc/pam.d/common-{service}").write_text(line + "\n")


def _configure_services(root: Path) -> None:
    """Configure systemd to boot to the ssh server. Address and port are set for each board."""
    units = root / "etc/systemd/system"
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    for name in _MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    for name in _NO_CREDENTIALS:
        (units / f"{name}.service.d").mkdir(exist_ok=True)
        (units / f"{name}.service.d/lab.conf").write_text(
            "[Service]\nLoadCredential=\nSetCredential=\nImportCredential=\n"
        )
    (wanted / "ssh.service").unlink(missing_ok=True)
    (wanted / "ssh.service").symlink_to("/lib/systemd/system/ssh.service")
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    (root / "etc/locale.conf").write_text("LANG=C.UTF-8\n")
    (root / "etc/localtime").unlink(missing_ok=True)
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/UTC")
    (root / "etc/ssh").mkdir(exist_ok=True)
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
