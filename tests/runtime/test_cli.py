"""The command line as users meet it: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgepose.runtime.cli import main
from edgepose.runtime.cli.main import COMMANDS
from edgepose.runtime.model import container
from edgepose.runtime.synthetic import Scene

from ..conftest import HANG_S, call_edgepose, run_edgepose
from ..scene_dataset import write_video


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "two people.png"
    cv2.imwrite(str(path), Scene(2, 640, 480).render_frame(0).image)
    return path


def assert_one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


def test_help_lists_every_command_and_each_has_examples() -> None:
    overview = run_edgepose("--help")
    assert overview.returncode == 0
    for command in ("convert", "run", "info", "eval"):
        assert command in overview.stdout
        text = run_edgepose(command, "--help")
        assert text.returncode == 0
        assert f"edgepose {command} " in text.stdout.split("Examples:")[1]


def test_no_command_is_wrong_use() -> None:
    assert run_edgepose().returncode == 2
    assert_one_line(run_edgepose("rnu"), "'rnu'", "did you mean run")
    assert_one_line(run_edgepose("run"), "INPUT... is required")
    assert_one_line(
        run_edgepose("run", "-m", "x", "synthetic", "--format", "xml"),
        "--format: expected edgepose, openpose or coco, got 'xml'",
    )


def test_version_is_that_of_the_package() -> None:
    assert run_edgepose("--version").stdout.startswith("edgepose 0.")


def test_an_image_gives_one_line_of_json(small_model: Path, image: Path) -> None:
    result = run_edgepose("run", "-m", small_model, image)
    assert result.returncode == 0
    [line] = result.stdout.splitlines()
    document = json.loads(line)
    assert (document["width"], document["height"]) == (640, 480)
    assert len(document["poses"]) == 2
    assert "2 people in 1 frame" in result.stderr


def test_gray_transparent_and_deep_images_are_read(small_model: Path, tmp_path: Path) -> None:
    image = Scene(2, 640, 480).render_frame(0).image
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    variants = {
        "gray.png": gray,
        "gray.jpg": gray,
        "alpha.png": cv2.cvtColor(image, cv2.COLOR_BGR2BGRA),
        "deep.png": image.astype(np.uint16) * 257,
    }
    for name, content in variants.items():
        cv2.imwrite(str(tmp_path / name), content)
    result = run_edgepose("run", "-m", small_model, tmp_path)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(document["source"]).name for document in documents] == sorted(variants)
    assert all(len(document["poses"]) == 2 for document in documents)


def test_json_and_drawings_go_where_they_are_told(small_model: Path, image: Path, tmp_path: Path) -> None:
    out, drawn = tmp_path / "poses.jsonl", tmp_path / "drawn"
    result = run_edgepose("run", "-m", small_model, image, "--json", out, "--draw", drawn, "synthetic:1")
    assert (result.returncode, result.stdout) == (0, "")
    assert len(out.read_text().splitlines()) == 2
    assert sorted(path.name for path in drawn.iterdir()) == ["synthetic_1.jpg", "two people.jpg"]


def test_a_video_gives_a_line_a_frame_and_a_drawn_video(small_model: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 8)
    result = run_edgepose("run", "-m", small_model, tmp_path / "clip.avi", "--draw", tmp_path / "drawn")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [document["index"] for document in documents] == list(range(8))
    times = [document["timestamp_ns"] for document in documents]
    assert times == sorted(times)
    assert times[-1] > 0.2e9
    assert (tmp_path / "drawn/clip.mp4").stat().st_size > 1000


def test_bad_images_are_one_line_and_2(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image at all")
    (tmp_path / "bomb.png").write_bytes(_png_header(60_000, 60_000))
    (tmp_path / "nothing").mkdir()
    (tmp_path / "text.avi").write_text("not a video at all")
    for name in ("empty.jpg", "text.jpg", "bomb.png", "missing.jpg", "nothing", "text.avi"):
        out = tmp_path / "out.jsonl"
        result = run_edgepose("run", "-m", small_model, tmp_path / name, "--json", out)
        assert_one_line(result, str(tmp_path / name))
        assert not out.exists()
    assert_one_line(run_edgepose("run", "-m", small_model, "synthetic:x"), "synthetic:N")


def _png_header(width: int, height: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def test_one_bad_image_does_not_cost_the_others(small_model: Path, image: Path) -> None:
    (image.parent / "bad.jpg").write_text("not an image")
    result = run_edgepose("run", "-m", small_model, image.parent)
    assert result.returncode == 1
    assert len(result.stdout.splitlines()) == 1
    assert "bad.jpg" in result.stderr


def test_outputs_that_cannot_be_written_are_one_line_and_2(small_model: Path, image: Path) -> None:
    assert_one_line(run_edgepose("run", "-m", small_model, image, "--json", "/nowhere/out.jsonl"), "/nowhere")
    assert_one_line(run_edgepose("run", "-m", small_model, image, "--draw", image / "folder"), "cannot create")
    command = [sys.executable, "-m", "edgepose.runtime.cli", "run", "-m", str(small_model), str(image)]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(small_model: Path, image: Path) -> None:
    command = f"{sys.executable} -m edgepose.runtime.cli run -m '{small_model}' '{image}' '{image}' | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_info_shows_the_manifest(small_model: Path) -> None:
    text = run_edgepose("info", small_model)
    assert text.returncode == 0
    assert "edgepose-tiny, int8" in text.stdout
    assert "432x368 RGB int8, letterbox" in text.stdout
    assert container.read(small_model).flatbuffer_sha256 in text.stdout
    document = json.loads(run_edgepose("info", small_model, "--json").stdout)
    assert document["format"] == "edgepose-manifest"
    assert document["macs"] == 522_578_952


def test_models_are_found_by_name(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.tflite").symlink_to(small_model)
    monkeypatch.setenv("EDGEPOSE_MODELS", os.pathsep.join(["/nowhere", str(tmp_path)]))
    assert run_edgepose("info", "mine").returncode == 0
    assert_one_line(run_edgepose("info", "yours"), "no model 'yours'", str(tmp_path))


@pytest.mark.parametrize("extra", ["tensorflow", "pycocotools"])
def test_a_missing_extra_is_named(extra: str, small_model: Path, dataset: Path, tmp_path: Path) -> None:
    """As on a board: the package is not there."""
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text(f"import sys\nsys.modules[{extra!r}] = None\n")
    command = {
        "tensorflow": ["convert", "mobilenet_v2_small", "--untrained", "-o", str(tmp_path / "x.tflite")],
        "pycocotools": ["eval", "-m", str(small_model), "--images", str(dataset / "images"), "--annotations",
                        str(dataset / "annotations.json")],
    }[extra]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "edgepose.runtime.cli", *command], capture_output=True, text=True, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert "pip install --editable " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", ["--help", "--version", "run --help", "camera --print-config"])
def test_a_reader_that_goes_is_no_error(arguments: str) -> None:
    code = "import sys; from edgepose.runtime.cli.main import main; sys.exit(main(sys.argv[1:]))"
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments.split()],
            stdout=write, stderr=subprocess.PIPE, text=True, timeout=HANG_S, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--hlep"], ["no option --hlep", "did you mean --help?"]),
        (["run", "--thread", "2", "a.jpg"], ["edgepose run: no option --thread; did you mean --threads?"]),
        (["run", "--json"], ["--json: expected a value"]),
        (["run", "--json", "--draw", "out", "a.jpg"], ["--json: expected a value, got the option --draw"]),
        (["run", "--threads", "0", "a.jpg"], ["--threads: expected 1 to 64, got 0"]),
        (["run", "--threads", "two", "a.jpg"], ["--threads: expected 1 to 64, got two"]),
        (["run", "--min-score", "nan", "a.jpg"], ["--min-score: expected 0 to 1, got nan"]),
        (["run", "--format", "opnepose", "a.jpg"], ["did you mean openpose?"]),
        (["run", "--quiet", "--verbose", "a.jpg"], ["cannot be combined"]),
        (["info", "a.tflite", "b.tflite"], ["edgepose info: ", "b.tflite"]),
        (["info", "--sha256", "12", "a.tflite"], ["--sha256: expected 64 hexadecimal digits, got '12'"]),
        (["convert", "cmu"], ["--output is required"]),
        (["camera", "--privacy", "blue", "--sink", "-"], ["did you mean blur?"]),
        (["deploy"], ["HOST... is required"]),
        (["profile", "--merge"], ["--merge: expected one or more profiles"]),
        (["completion", "tcsh"], ["SHELL: expected bash, zsh or fish, got 'tcsh'"]),
        (["statsu"], ["did you mean status?"]),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(
    arguments: list[str], words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    done = call_edgepose(capfd, *arguments)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_help_starts_with_the_first_command_to_try(capfd: pytest.CaptureFixture[str]) -> None:
    done = call_edgepose(capfd, "--help")
    assert "edgepose run photo.jpg --draw out/" in done.stdout.split("Find people:")[0]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_in_sections(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = call_edgepose(capfd, command, "-h").stdout
    assert "Common options:" in text
    assert "--quiet" in text
    assert text.index("Common options:") < text.index("Examples:")


def test_quiet_shows_errors_only_and_verbose_shows_tracebacks(
    image: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call_edgepose(capfd, "run", image, "--quiet").stderr == ""
    assert "2 people in 1 frame" in call_edgepose(capfd, "-v", "run", image).stderr
    missing = call_edgepose(capfd, "run", tmp_path / "missing.jpg", "-q")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    broken = call_edgepose(capfd, "info", tmp_path / "missing.tflite", "-v")
    assert "Traceback" in broken.stderr
    assert "Traceback" not in call_edgepose(capfd, "info", tmp_path / "missing.tflite").stderr


def test_names_that_begin_with_a_dash_follow_two_dashes(
    image: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(image.parent)
    image.rename("-image.png")
    done = call_edgepose(capfd, "run", "--", "-image.png")
    assert (done.returncode, json.loads(done.stdout)["source"]) == (0, "-image.png")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_edgepose(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    done = call_edgepose(capfd, "completion", shell)
    assert "_EDGEPOSE_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("edgepose ro", "rollback"),
        ("edgepose run --th", "--threads"),
        ("edgepose run --format op", "openpose"),
        ("edgepose camera -m edgepose-", "edgepose-tiny"),
        ("edgepose events tes", "test"),
        ("edgepose events test --dr", "--draw"),
    ],
)
def test_the_shell_completes_commands_options_and_values(line: str, expected: str) -> None:
    words = line.split()
    environment = {
        **os.environ, "_EDGEPOSE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "edgepose.runtime.cli"], env=environment, capture_output=True, text=True, check=False
    )
    assert expected in [entry.split(",")[1] for entry in done.stdout.splitlines()], done


def test_a_part_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Releases on boards have no `convert`."""
    monkeypatch.setitem(main.COMMANDS, "eval", main.CommandEntry("edgepose.nowhere.cli.eval", "Models", "score"))
    done = call_edgepose(capfd, "eval")
    assert done.returncode == 2
    assert "eval is not part of this installation" in done.stderr
