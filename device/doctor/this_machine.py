"""All checks of `edgepose doctor` without a board."""

from __future__ import annotations

from ..deploy.check import Check
from ..deploy.checks import run_local_checks
from ..deploy.facts import Facts
from . import deploy_tools, packages, storage, video_devices


def check_this_machine(facts: Facts) -> list[Check]:
    """Check the installation of edgepose on this machine, its cameras and its hardware. Takes a few seconds.

    Args:
        facts: Facts about this machine, from the probe.
    """
    results, problem = packages.run_trial(include_picamera2=bool(facts.board))
    checks = [
        *packages.check_python(facts), *packages.check_packages(results, problem), *storage.check_models(),
        *storage.check_cache(), *packages.check_extras(),
        *video_devices.check_cameras(facts, video_devices.list_devices()),
    ]  # fmt: skip
    if packages.has_extra("deploy"):
        checks += deploy_tools.check_deploy_tools()
    return [*checks, *run_local_checks(facts)]
