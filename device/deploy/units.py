"""systemd units of a board. They refer only to the link `current`, so that they work with every release."""

from __future__ import annotations

import re
from collections.abc import Sequence

BASE_FOLDER = "/opt/edgepose"
STATE_FOLDER = "/var/lib/edgepose"
"""Working folder and home of the service, the only folder that it may write to."""
HELPER_PATH = "/usr/local/lib/edgepose/activate"
SECRETS_PATH = "/etc/edgepose/secrets.env"
SECRETS_HASH_PATH = "/etc/edgepose/secrets.json"
"""Slow hash of the secrets with its salt, readable only by root; shows if the given secrets have changed."""
SERVICE_PATH = "/etc/systemd/system/edgepose.service"
RECOVER_PATH = "/etc/systemd/system/edgepose-recover.service"
USER = "edgepose"
CAMERA_GROUPS = ("video", "render")
"""Groups that may open a camera on Raspberry Pi OS and Debian."""

PYTHON_OPTIONS = ("-I", "-B", "-u")
"""Options of every Python that runs as the service: no PYTHON* variables, no site-packages of the user, no working
folder on the import path (-I); no bytecode files (-B); unbuffered output (-u)."""
ENVIRONMENT_VARIABLES = ("PYTHONNOUSERSITE=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
SELF_TEST_UNIT = "edgepose-self-test"
IMPORTS_UNIT = "edgepose-imports"
BOARD_NAME_PATTERN = re.compile(r"\w[\w .()&',-]{0,62}\w|\w")
"""Display name of a board, without quotes, % and other characters that are special in a unit file."""

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
"""Sandbox of the service: it may use the camera, the network and its own folder. The self-test has the same limits."""

_SERVICE_TEMPLATE = """\
# Written by `edgepose deploy`, which overwrites changes. For your own settings use: systemctl edit edgepose
[Unit]
Description=edgepose: pose estimation on camera images
Documentation=https://github.com/edgepose/edgepose
After=network.target time-sync.target
StartLimitIntervalSec=300
StartLimitBurst=5
OnFailure=edgepose-recover.service

[Service]
Type=notify
User={user}
{groups}ExecStart={base}/current/venv/bin/python {options} -m edgepose.device.camera.release {base}/current
WorkingDirectory={state}
StateDirectory=edgepose
RuntimeDirectory=edgepose
EnvironmentFile=-{secrets}
Environment={environment} XDG_CACHE_HOME={state}
{name}TimeoutStartSec=180
TimeoutStopSec=15
# Exit code of a service that is stopped while it starts: no failure, so the recovery must not start.
SuccessExitStatus=143
WatchdogSec=30
Restart=always
RestartSec=2

# The service may use the camera, the network and its own folder. /opt/edgepose belongs to root and is read-only for it.
{sandbox}
[Install]
WantedBy=multi-user.target
"""

_RECOVER_TEMPLATE = """\
# Written by `edgepose deploy`. Goes back to the last release that worked, or tries again after a minute.
[Unit]
Description=edgepose: recover from a release that does not run

[Service]
Type=oneshot
ExecStart={helper} recover
ProtectHome=yes
PrivateNetwork=yes
"""


def make_service_unit(groups: Sequence[str], name: str = "") -> str:
    """Return the unit file of the service.

    Args:
        groups: Groups that exist on the board. The service joins those that may open a camera.
        name: Display name of the board (EDGEPOSE_NAME); empty uses the host name.

    Raises:
        ValueError: The name contains characters that are special in a unit file.
    """
    if name and not BOARD_NAME_PATTERN.fullmatch(name):
        raise ValueError(f"expected a name of 1 to 64 letters, digits, spaces and .()&',-_, got {name!r}")
    camera_groups = [group for group in CAMERA_GROUPS if group in groups]
    line = f"SupplementaryGroups={' '.join(camera_groups)}\n" if camera_groups else ""
    return _SERVICE_TEMPLATE.format(
        user=USER, groups=line, base=BASE_FOLDER, state=STATE_FOLDER, secrets=SECRETS_PATH,
        options=" ".join(PYTHON_OPTIONS), environment=" ".join(ENVIRONMENT_VARIABLES),
        name=f'Environment="EDGEPOSE_NAME={name}"\n' if name else "",
        sandbox="".join(f"{key}={value}\n" for key, value in SANDBOX),
    )  # fmt: skip


def make_sandboxed_command(unit: str, groups: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return the command line that runs a program once as the service user, in the sandbox of the service.

    The program has no network, no state folder and no runtime folder, so there is nothing that it may write to.

    Args:
        unit: Name of the transient systemd unit.
        groups: Groups that exist on the board.
        words: Command line of the program.
    """
    camera_groups = [group for group in CAMERA_GROUPS if group in groups]
    properties = [("User", USER), ("WorkingDirectory", "/"), ("PrivateNetwork", "yes"), ("RuntimeMaxSec", "300")]
    if camera_groups:
        properties.append(("SupplementaryGroups", " ".join(camera_groups)))
    properties += [("Environment", entry) for entry in ENVIRONMENT_VARIABLES]
    return [
        "systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}",
        *(word for key, value in (*properties, *SANDBOX) for word in ("-p", f"{key}={value}")), "--", *words,
    ]  # fmt: skip


def make_recover_unit() -> str:
    """Return the unit file that systemd starts if the service has failed 5 times in 300 s."""
    return _RECOVER_TEMPLATE.format(helper=HELPER_PATH)
