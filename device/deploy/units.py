"""systemd's units for a board. They name `current` only, so that they serve every release."""

from __future__ import annotations

from collections.abc import Sequence

BASE = "/opt/edgepose"
HELPER = "/usr/local/lib/edgepose/activate"
SECRETS = "/etc/edgepose/secrets.env"
SERVICE = "/etc/systemd/system/edgepose.service"
RECOVER = "/etc/systemd/system/edgepose-recover.service"
USER = "edgepose"
GROUPS = ("video", "render")
"""That may open a camera, on Raspberry Pi OS and Debian."""

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
{groups}ExecStart={base}/current/venv/bin/python -m edgepose.device.service {base}/current
WorkingDirectory=/var/lib/edgepose
StateDirectory=edgepose
RuntimeDirectory=edgepose
EnvironmentFile=-{secrets}
Environment=PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/var/lib/edgepose
TimeoutStartSec=180
TimeoutStopSec=15
WatchdogSec=30
Restart=always
RestartSec=2
UMask=0027

# Nothing but the camera, the network and its own folder.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-dma_heap rw
DeviceAllow=char-vchiq rw
DeviceAllow=/dev/vcio rw
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=sched_setaffinity sched_getaffinity setpriority sched_setscheduler mbind
SystemCallErrorNumber=EPERM

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


def service(groups: Sequence[str]) -> str:
    """The loop's unit; `groups`: those that the board has."""
    there = [group for group in GROUPS if group in groups]
    line = f"SupplementaryGroups={' '.join(there)}\n" if there else ""
    return _SERVICE.format(user=USER, groups=line, base=BASE, secrets=SECRETS)


def recover() -> str:
    """The unit that systemd starts when the loop's has failed for good."""
    return _RECOVER.format(helper=HELPER)
