"""systemd's units for a board. They name `current` only, so that they serve every release."""

from __future__ import annotations

import re
from collections.abc import Sequence

BASE = "/opt/edgepose"
HELPER = "/usr/local/lib/edgepose/activate"
SECRETS = "/etc/edgepose/secrets.env"
SECRETS_HASH = "/etc/edgepose/secrets.json"
"""A slow hash of the secrets with its salt, readable by root alone: whether others are given now can be told."""
SERVICE = "/etc/systemd/system/edgepose.service"
RECOVER = "/etc/systemd/system/edgepose-recover.service"
USER = "edgepose"
GROUPS = ("video", "render")
"""That may open a camera, on Raspberry Pi OS and Debian."""

PYTHON_OPTIONS = ("-I", "-B", "-u")
"""Of every Python that runs as the service: no PYTHON* variables, no user's site-packages, no working folder on the
path; nothing compiled is written; output at once."""
ENVIRONMENT = ("PYTHONNOUSERSITE=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
SELF_TEST_UNIT = "edgepose-self-test"
IMPORTS_UNIT = "edgepose-imports"
NAME = re.compile(r"\w[\w .()&',-]{0,62}\w|\w")
"""A board's name: no quotes, no %, nothing else that systemd reads as more than itself."""

SANDBOX = (
    ("UMask", "0077"),
    ("LimitNOFILE", "4096"),
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("AmbientCapabilities", ""),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateMounts", "yes"),
    ("PrivateUsers", "yes"),
    ("ProtectProc", "invisible"),
    ("ProtectClock", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("KeyringMode", "private"),
    ("DevicePolicy", "closed"),
    ("DeviceAllow", "char-video4linux rw"),
    ("DeviceAllow", "char-media rw"),
    ("DeviceAllow", "char-dma_heap rw"),
    ("DeviceAllow", "char-vchiq rw"),
    ("DeviceAllow", "/dev/vcio rw"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("RemoveIPC", "yes"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@privileged @resources"),
    ("SystemCallFilter", "sched_setaffinity sched_getaffinity setpriority sched_setscheduler mbind"),
    ("SystemCallErrorNumber", "EPERM"),
)
"""What the loop may do: the camera, the network and its own folder. The self-test runs with the same properties."""

_SERVICE = """\
# Written by `edgepose deploy`; changes are overwritten. Settings of your own: systemctl edit edgepose
[Unit]
Description=edgepose: people in front of the camera
Documentation=https://github.com/edgepose/edgepose
After=network.target time-sync.target
StartLimitIntervalSec=300
StartLimitBurst=5
OnFailure=edgepose-recover.service

[Service]
Type=notify
User={user}
{groups}ExecStart={base}/current/venv/bin/python {options} -m edgepose.device.camera.release {base}/current
WorkingDirectory=/var/lib/edgepose
StateDirectory=edgepose
RuntimeDirectory=edgepose
EnvironmentFile=-{secrets}
Environment={environment} XDG_CACHE_HOME=/var/lib/edgepose
{name}TimeoutStartSec=180
TimeoutStopSec=15
# What a loop exits with that is stopped while it is still starting: no failure, nothing to recover from.
SuccessExitStatus=143
WatchdogSec=30
Restart=always
RestartSec=2

# Nothing but the camera, the network and its own folder. /opt/edgepose is root's: the loop cannot change what it runs.
{sandbox}
[Install]
WantedBy=multi-user.target
"""

_RECOVER = """\
# Written by `edgepose deploy`: back to the last release that worked, or another try a minute later.
[Unit]
Description=edgepose: recover from a release that does not run

[Service]
Type=oneshot
ExecStart={helper} recover
ProtectHome=yes
PrivateNetwork=yes
"""


def service(groups: Sequence[str], name: str = "") -> str:
    """Return the loop's unit.

    Args:
        groups: The groups that the board has; those of a camera are used.
        name: What the board is called in messages (EDGEPOSE_NAME); empty: the loop takes the host name.

    Raises:
        ValueError: The name holds characters that systemd would read.
    """
    if name and not NAME.fullmatch(name):
        raise ValueError(f"expected a name of 1 to 64 letters, digits, spaces and .()&',-_, got {name!r}")
    there = [group for group in GROUPS if group in groups]
    line = f"SupplementaryGroups={' '.join(there)}\n" if there else ""
    return _SERVICE.format(
        user=USER, groups=line, base=BASE, secrets=SECRETS, options=" ".join(PYTHON_OPTIONS),
        environment=" ".join(ENVIRONMENT), name=f'Environment="EDGEPOSE_NAME={name}"\n' if name else "",
        sandbox="".join(f"{key}={value}\n" for key, value in SANDBOX),
    )  # fmt: skip


def sandboxed(unit: str, groups: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return the command line that runs a program once as the service user in the service's sandbox, without network.

    It gets neither the state folder nor the runtime folder: there is nothing that it may write to.
    """
    there = [group for group in GROUPS if group in groups]
    properties = [("User", USER), ("WorkingDirectory", "/"), ("PrivateNetwork", "yes"), ("RuntimeMaxSec", "300")]
    if there:
        properties.append(("SupplementaryGroups", " ".join(there)))
    properties += [("Environment", entry) for entry in ENVIRONMENT]
    return [
        "systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}",
        *(word for key, value in (*properties, *SANDBOX) for word in ("-p", f"{key}={value}")), "--", *words,
    ]  # fmt: skip


def recover() -> str:
    """Return the unit that systemd starts when the loop's has failed for good."""
    return _RECOVER.format(helper=HELPER)
