"""All scripts of `examples/`, run with the command in their first line."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.runtime.synthetic import Scene

from .conftest import HANG_S, HAS_TENSORFLOW, ROOT, find_weights
from .device.sink_helpers import wait_until
from .device.test_sinks import free_port, needs_broker, run_broker, subscribe
from .scene_dataset import write_video

pytestmark = pytest.mark.once
EXAMPLES = ROOT / "examples"


def run_example(name: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "images/photo.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), Scene(2, 640, 480).render_frame(0).image)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.avi", 6)


def test_all_examples_are_tested() -> None:
    tested = Path(__file__).read_text()
    names = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert len(names) == 11
    assert not [name for name in names if f'run_example("{name}"' not in tested]
    listed = (EXAMPLES / "README.md").read_text()
    assert not [name for name in names if f"`{name}.py`" not in listed]


def test_images(photo: Path, tmp_path: Path) -> None:
    assert run_example("count_people", photo) == f"{photo} 2\n"
    assert run_example("elbow_angle", photo).count("degrees") >= 3
    (photo.parent / "text.png").write_text("no image")
    run_example("folder_to_csv", photo.parent, tmp_path / "keypoints.csv")
    rows = list(csv.DictReader((tmp_path / "keypoints.csv").read_text().splitlines()))
    assert {row["person"] for row in rows} == {"1", "2"}
    assert len(rows) > 30


def test_videos(clip: Path, tmp_path: Path) -> None:
    run_example("draw_in_your_loop", clip, tmp_path / "drawn.avi")
    drawn = cv2.VideoCapture(str(tmp_path / "drawn.avi"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert run_example("count_squats", clip) == "{}\n"
    assert run_example("count_crossings", clip) == "in: 0, out: 0\n"


def test_squats_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the script on a synthetic person who does three squats."""
    import runpy

    import edgepose
    from edgepose.runtime.synthetic.actions import Actor, observe
    from edgepose.runtime.synthetic.pinhole import PinholeCamera

    rng, camera = np.random.default_rng(0), PinholeCamera(1.2).aim(4)
    actor = Actor(rng, (4, 0), 120)
    actor.stand(1)
    actor.squat(3)
    actor.stand(1)
    image = np.zeros((480, 640, 3), np.uint8)
    frames = [
        (edgepose.Frame(image, "clip", index, index * 10**8),
         (edgepose.Pose(observe(actor, camera, index / 10, rng), 0.8, person=1),))
        for index in range(int(actor.end_s * 10))
    ]  # fmt: skip
    monkeypatch.setattr(edgepose, "stream", lambda source: frames)
    monkeypatch.setattr(sys, "argv", ["count_squats.py", "clip"])
    runpy.run_path(str(EXAMPLES / "count_squats.py"))
    assert capsys.readouterr().out.splitlines()[-1] == "{1: 3}"
    assert 'run_example("count_squats"' in Path(__file__).read_text()


def test_the_camera_loop(photo: Path) -> None:
    assert run_example("camera_callback", photo.parent).startswith("frame 0: 2 people")


@needs_broker
def test_mqtt(photo: Path, tmp_path: Path) -> None:
    port = free_port()
    with run_broker(port, tmp_path), subscribe(port) as heard:
        # Several frames, because messages before the connection is established may be lost.
        for index in range(1, 40):
            (photo.parent / f"{index}.png").symlink_to(photo)
        run_example("publish_mqtt", f"mqtt://127.0.0.1:{port}/poses", photo.parent)
        wait_until(lambda: "poses/status" in heard or "poses/poses" in heard)


@pytest.mark.skipif(importlib.util.find_spec("supervision") is None, reason="supervision is not installed (extra)")
def test_supervision(photo: Path, tmp_path: Path) -> None:
    run_example("use_supervision", photo, tmp_path / "drawn.png")
    assert (cv2.imread(str(tmp_path / "drawn.png")) != cv2.imread(str(photo))).any()


def test_profile() -> None:
    lines = run_example("profile_two_models", "edgepose-tiny", "edgepose-small").splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["edgepose-tiny", "edgepose-small"]
    assert " is faster, by a factor of " in lines[2]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed (extra `convert`)")
def test_conversion(photo: Path, tmp_path: Path) -> None:
    find_weights("mobilenet_thin")
    for index in range(1, 4):
        cv2.imwrite(str(photo.parent / f"{index}.png"), Scene(index, 640, 480).render_frame(10 * index).image)
    out = run_example("convert_and_quantize", photo.parent, tmp_path / "thin.tflite")
    assert f"written: {tmp_path}/thin.tflite, 0." in out or f"written: {tmp_path}/thin.tflite, 1." in out


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code in one process, as the kernel of a notebook runs it; its outputs are those of a real run."""
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "quickstart.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"]
            exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), names)
    assert (tmp_path / "drawn.jpg").stat().st_size > 10_000
    shown = [output for cell in cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
    assert len(shown) == 1
