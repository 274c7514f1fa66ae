"""`python -m edgepose.device.camera.self_test RELEASE`: does a release do on this board what it did on the workstation?

Run by `edgepose deploy` before a board is switched. Exit code 1 and one line where it does not; else a second line
says how many kilobytes it took at most.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ...runtime import PoseEstimator, self_check
from ...runtime.errors import EdgePoseError, InputError
from .. import config
from ..monitor import board
from .release import read as read_release


def check(folder: Path) -> str:
    """What the self-test saw. Raises EdgePoseError where the release is not fit to run here."""
    release = read_release(folder)
    config.read(folder / release.config).check()
    seen = []
    for name in (release.model, *release.when_hot):
        estimator = PoseEstimator(folder / name)
        if difference := self_check.check(estimator):
            raise InputError(f"{name}: this board does not compute what the workstation did: {difference}")
        stored = estimator.manifest.golden
        seen.append(
            f"{name}: {len(stored.poses) if stored else 0} of {len(stored.poses) if stored else 0} people found again"
        )
    return f"{'; '.join(seen)} ({estimator.interpreter_name})"


def main() -> int:
    """Prints a line."""
    try:
        print(check(Path(sys.argv[1])))
        # Of this program alone; what getrusage tells of a child includes what its parent was.
        print(board.entry(Path("/proc/self/status"), "VmHWM"))
    except (EdgePoseError, ValueError) as error:
        print(f"self-test failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
