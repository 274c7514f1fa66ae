"""Self-test of a release on a board: `python -m edgepose.device.camera.self_test RELEASE`.

Checks that the models compute the same poses on the board as on the workstation. `edgepose deploy` runs it before it
activates a release. If the test fails, it prints one line and the exit code is 1. Otherwise it prints two lines: the
result, and the peak memory of the process in kilobytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ...runtime import PoseEstimator, self_check
from ...runtime.errors import EdgePoseError, InputError
from .. import config
from ..monitor import board
from .release import read as read_release


def run_self_test(folder: Path) -> str:
    """Test all models and the configuration of a release.

    Returns:
        One line with the result for each model and the name of the interpreter.

    Raises:
        EdgePoseError: The release cannot run on this board.
        ValueError: A setting is out of range.
    """
    release = read_release(folder)
    config.read(folder / release.config).check()
    results = []
    for name in (release.model, *release.when_hot):
        estimator = PoseEstimator(folder / name)
        if difference := self_check.check(estimator):
            raise InputError(f"{name}: this board does not compute the same poses as the workstation: {difference}")
        results.append(f"{name}: {self_check.describe(estimator.manifest)}")
    return f"{'; '.join(results)} ({estimator.interpreter_name})"


def main() -> int:
    """Run the self-test and print the result.

    Returns:
        Exit code: 0, or 1 if the test failed.
    """
    try:
        print(run_self_test(Path(sys.argv[1])))
        # Peak memory of this process only; the value that getrusage returns for a child includes memory of its parent.
        print(board.read_entry(Path("/proc/self/status"), "VmHWM"))
    except (EdgePoseError, ValueError) as error:
        print(f"self-test failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
