"""Trial of this installation: import the packages, choose the interpreter, estimate poses in the synthetic scene.

`edgepose doctor` runs this module in a child process, because a package that does not fit the processor or another
package can end the process. Prints one JSON object per line as soon as a result is known.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from importlib import metadata, util
from statistics import median
from time import perf_counter

_RUNS = 5
_MODULES = (("NumPy", "numpy"), ("OpenCV", "cv2"), ("decoder kernel", "edgepose.runtime._decode"))


def _report(name: str, **values: object) -> None:
    print(json.dumps({"name": name, **values}), flush=True)


def _describe(error: BaseException) -> str:
    from ...runtime.errors import EdgePoseError

    if isinstance(error, EdgePoseError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


def _import_modules() -> bool:
    works = True
    for name, module in _MODULES:
        try:
            found = importlib.import_module(module)
        except BaseException as error:
            works = False
            _report(name, error=_describe(error))
        else:
            _report(name, version=str(getattr(found, "__version__", "")), path=str(found.__file__))
    return works


def _choose_interpreter() -> bool:
    from ...runtime.model.interpreter import PACKAGES, choose_interpreter

    try:
        name, _ = choose_interpreter()
    except BaseException as error:
        _report("interpreter", error=_describe(error))
        return False
    others = [other for other in PACKAGES if other != name and util.find_spec(PACKAGES[other].split(".")[0])]
    _report("interpreter", package=name, version=_find_version(name), others=others)
    return True


def _find_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # copied by hand, or the metadata is damaged
        return "of unknown version"


def _estimate() -> None:
    from ...runtime import self_check
    from ...runtime.estimator import PoseEstimator
    from ...runtime.model.interpreter import get_default_threads
    from ...runtime.model.registry import DEFAULT_MODEL
    from ...runtime.synthetic import Scene

    name = "trial inference"
    try:
        estimator = PoseEstimator()
        golden = estimator.manifest.golden
        people, seed = (1, 0) if golden is None else (golden.people, golden.seed)
        image = Scene(people, 640, 480, seed=seed).render_frame(0).image
        found = estimator.estimate(image)
        times_s = []
        for _ in range(_RUNS):
            start = perf_counter()
            found = estimator.estimate(image)
            times_s.append(perf_counter() - start)
        difference = "" if golden is None else self_check.check(estimator)
    except BaseException as error:
        _report(name, error=_describe(error))
        return
    _report(
        name, model=DEFAULT_MODEL, people=len(found.poses), expected=people, time_ms=median(times_s) * 1000, runs=_RUNS,
        threads=get_default_threads(), difference=difference,
    )  # fmt: skip


def _import_picamera2() -> None:
    try:
        importlib.import_module("picamera2")
    except BaseException as error:
        _report("picamera2", error=_describe(error))
    else:
        _report("picamera2")


def main(words: Sequence[str]) -> None:
    """Try everything. With the argument `picamera2`, also import Picamera2."""
    # What libraries print must not be taken for results.
    results = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(results, "w")
    if _import_modules() and _choose_interpreter():
        _estimate()
    if "picamera2" in words:
        _import_picamera2()


if __name__ == "__main__":
    main(sys.argv[1:])
