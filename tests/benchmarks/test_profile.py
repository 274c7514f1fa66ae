"""`edgepose profile`: single operators, JSON, tables, plots, estimates, invalid input."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepose.benchmarks.profile import estimate, measure, operators, results, runner, table
from edgepose.benchmarks.profile.results import Accuracy, Latency, Operator, PeoplePoint, Profile, Row
from edgepose.device.monitor import board, health
from edgepose.runtime.errors import EdgePoseError, InputError, ModelError
from edgepose.runtime.model import container
from edgepose.runtime.model.interpreter import Network

from ..conftest import call_edgepose, run_edgepose

STAGES = {"capture": 0.1, "preprocess": 0.4, "inference": 8.0, "decode": 0.2, "draw": 2.0, "encode": 1.0}


def make_row(model: str = "net.tflite", fps: float = 100.0, ap: float | None = 0.3) -> Row:
    return Row(
        model, 2, "ab" * 32, "small", "int8", (432, 368), "ai-edge-litert", 0.8, 1_000_000_000, 12.0, 9.0, 500, fps,
        Latency(8.7, 9.5, 20.0), STAGES, 100.0, 110.0, 4.5, Accuracy(ap, 153) if ap else None,
        (health.Health(51.5, 1500.0, ("throttled",)), health.Health(None, None, None)), 0.002, ("noisy",),
        (Operator(0, "CONV_2D", "a", 3.0, 900, True), Operator(1, "ADD", "b", 1.0, 0, False)), 4.1,
        (PeoplePoint(1, 1.0, {"inference": 8.0}), PeoplePoint(30, 28.0, {"inference": 8.1})),
    )  # fmt: skip


def make_profile(*found: Row) -> Profile:
    return Profile(board.read_board(), "synthetic:5", "2026-01-01T00:00:00+00:00", found or (make_row(),))


def test_a_profile_survives_json(tmp_path: Path) -> None:
    profile = make_profile(make_row(), Row("broken.tflite", 1, error="expected a TFLite model"))
    (tmp_path / "p.json").write_text(profile.to_json())
    assert results.read(tmp_path / "p.json") == profile


def test_the_json_has_all_documented_entries() -> None:
    document = json.loads(make_profile().to_json())
    row = document["rows"][0]
    assert {
        "model",
        "precision",
        "input_size",
        "threads",
        "fps",
        "stages_ms",
        "peak_rss_mb",
        "model_mb",
        "macs",
    } <= set(row)
    assert {"p50", "p95"} <= set(row["latency_ms"])
    assert row["gmacs_per_s"] == pytest.approx(125.0)
    assert document["machine"]["cores"] >= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["rows", "machine", "version", "input"]), JSON)
def test_a_profile_with_anything_in_it_is_read_or_refused(key: str, value: object) -> None:
    document = json.loads(make_profile().to_json())
    document[key] = value
    check_refusal(document)


@given(st.sampled_from(sorted(json.loads(make_profile().to_json())["rows"][0])), JSON)
def test_a_row_with_anything_in_it_is_read_or_refused(key: str, value: object) -> None:
    document = json.loads(make_profile().to_json())
    document["rows"][0][key] = value
    check_refusal(document)


def check_refusal(document: object) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(document))
        file.flush()
        try:
            profile = results.read(Path(file.name))
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert table.format_table(profile.rows)
            assert table.format_csv([profile])


def test_a_table_shows_failed_rows_and_estimates() -> None:
    guessed = Row("net.tflite", 4, fps=17.6, latency_ms=Latency(56.9, 56.9, 56.9), estimate="Raspberry Pi 4")
    text = table.format_table([make_row(), guessed, Row("broken.tflite", 1, error="expected a TFLite model")])
    lines = text.splitlines()
    assert lines[0].split()[:2] == ["model", "precision"]
    assert "100.0" in lines[1]
    assert "0.300" in lines[1]
    assert "~17.6" in lines[2], "an estimate is marked"
    assert lines[3] == "broken x1: expected a TFLite model"
    assert "XNNPACK" in table.format_operators(make_row())
    assert "-2.4%" in table.format_operators(make_row()), "how nearly the operators add up"


def test_csv_has_one_line_per_row() -> None:
    found = list(csv.DictReader(io.StringIO(table.format_csv([make_profile(), make_profile(make_row("b.tflite"))]))))
    assert [row["model"] for row in found] == ["net.tflite", "b.tflite"]
    assert float(found[0]["inference_ms"]) == 8.0


def test_a_plot_shows_every_panel(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from edgepose.benchmarks.profile import plots

    plots.write(tmp_path / "all.png", [make_profile(make_row(), make_row("b.tflite", 30.0, 0.47))])
    plots.write(
        tmp_path / "few.png", [make_profile(Row("b.tflite", 1, fps=3.0, latency_ms=Latency(1, 2, 3), stages_ms=STAGES))]
    )
    wide, narrow = (cv2.imread(str(tmp_path / name)) for name in ("all.png", "few.png"))
    assert wide.shape[0] > 1.8 * narrow.shape[0]
    assert wide.shape[1] > 1.8 * narrow.shape[1]


def test_single_operators_compute_the_same_as_the_network(small_model: Path, tmp_path: Path) -> None:
    """An image gives the same result if it passes through the single operators as in the whole network."""
    flatbuffer = container.read_flatbuffer(small_model)
    extractor = operators.OperatorExtractor(flatbuffer)
    whole = Network(small_model, 1)
    assert len(extractor) == len(whole.list_operators())
    image = np.random.default_rng(0).uniform(0, 255, whole.inputs[0].shape).astype(np.float32)
    known = {whole.inputs[0].name: image}
    for number in range(len(extractor)):
        (tmp_path / "one.tflite").write_bytes(extractor.extract(number))
        single = Network(tmp_path / "one.tflite", 1)
        for info in single.inputs:
            single.get_tensor(info)[...] = known[info.name]
        single.invoke()
        known.update({info.name: np.array(single.get_tensor(info)) for info in single.outputs})
    whole.get_tensor(whole.inputs[0])[...] = image
    whole.invoke()
    for info in whole.outputs:
        np.testing.assert_allclose(whole.get_tensor(info), known[info.name], atol=1e-4)


def test_a_damaged_flatbuffer_is_refused_or_cut_into_operators(small_model: Path) -> None:
    whole = container.read_flatbuffer(small_model)
    refused = 0
    for seed in range(300):
        damaged = bytearray(whole)
        rng = np.random.default_rng(seed)
        start = int(rng.integers(0, 4000 if seed % 2 else len(damaged)))
        damaged[start : start + 100] = rng.bytes(100)
        try:
            extractor = operators.OperatorExtractor(bytes(damaged))
            for number in range(min(len(extractor), 3)):
                extractor.extract(number)
        except ModelError:
            refused += 1
    assert 10 < refused < 290


def test_macs_of_a_loaded_network_are_those_of_its_manifest(small_model: Path) -> None:
    from edgepose.benchmarks.profile import macs

    assert (
        sum(op.macs for op in macs.compute_operator_costs(Network(small_model, 1))) == container.read(small_model).macs
    )


def test_profile_measures_a_pose_network_and_any_other(
    small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(container.read_flatbuffer(small_model))
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(other.read_bytes()[:5000])
    out = tmp_path / "p.json"
    result = call_edgepose(
        capfd,
        "profile",
        small_model,
        other,
        broken,
        "missing.tflite",
        "--threads",
        "1",
        "--seconds",
        "0.3",
        "--json",
        out,
    )
    assert result.returncode == 1, "two of them could not be measured"
    pose, plain, damaged, missing = results.read(out).rows
    assert pose.frames >= 20
    assert pose.fps > 0
    assert pose.latency_ms is not None
    assert pose.latency_ms.p50 <= pose.latency_ms.p95 <= pose.latency_ms.max
    assert set(pose.stages_ms) == set(results.STAGES)
    assert 30 < pose.rss_mb <= pose.peak_rss_mb < 1000
    assert pose.overhead < 0.05
    assert pose.people > 3
    assert set(plain.stages_ms) == {"inference"}
    assert plain.macs == pose.macs
    assert damaged.error
    assert "missing.tflite" in missing.error
    assert "broken x1: " in result.stdout


def test_every_operator_is_measured(small_model: Path) -> None:
    """How nearly the latencies add up depends on the machine: docs/guides/profile.md has figures."""
    found, total = operators.measure_operators(container.read_flatbuffer(small_model), 1)
    assert [op.number for op in found] == list(range(len(found)))
    assert sum(op.macs for op in found) == container.read(small_model).macs
    assert total > max(op.ms for op in found) > 0


def test_merging_shows_profiles_of_many_machines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(make_profile().to_json())
    csv_file = tmp_path / "both.csv"
    result = call_edgepose(capfd, "profile", "--merge", tmp_path / "a.json", tmp_path / "b.json", "--csv", csv_file)
    assert result.returncode == 0
    assert result.stdout.count("100.0") == 2
    assert len(csv_file.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.tflite", "--seconds", "0"), "--seconds: expected more than 0"),
        (("net.tflite", "--threads", "0"), "'0': expected numbers from 1 to 64"),
        (("net.tflite", "--threads", "1,x"), "separated by commas"),
        (("net.tflite", "--input", "nowhere.mp4"), "no such image, folder or video"),
        (("net.tflite", "--plot", "p.jpg"), "ends in .png"),
        (("net.tflite", "--json", "/nowhere/p.json"), "there is no folder /nowhere"),
        (("net.tflite", "--merge", "p.json"), "net.tflite: cannot read the profile"),
        (("--merge", "nowhere.json"), "cannot read the profile"),
        (("net.tflite", "--estimate", "pi9"), "--estimate: expected "),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    result = call_edgepose(capfd, "profile", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_more_threads_than_cores_is_a_warning() -> None:
    result = run_edgepose("profile", "nowhere.tflite", "--threads", "64")
    assert result.returncode == 1
    assert "more threads (64) than cores" in result.stderr


def test_estimates_are_near_published_results() -> None:
    for run in estimate.PINTO:
        others = [other for other in estimate.PINTO if other is not run]
        assert run.macs / estimate.fit_macs_per_ms(others) == pytest.approx(run.ms, rel=0.15)
    # TensorFlow Lite with one program on two boards (A. Allan, 2023), not used for the estimate: 112.6 and 23.5 ms.
    gain = estimate.estimate_macs_per_ms("pi5", "int8", 4) / estimate.estimate_macs_per_ms("pi4", "int8", 4)
    assert gain == pytest.approx(112.6 / 23.5, rel=0.15)
    for name in estimate.BOARDS:
        speeds = [estimate.estimate_macs_per_ms(name, "int8", threads) for threads in (1, 2, 3, 4)]
        assert speeds == sorted(speeds)
        assert estimate.estimate_macs_per_ms(name, "float", 4) < speeds[-1]


def test_an_estimate_is_marked(small_model: Path) -> None:
    row = estimate.estimate_row("small", small_model, 4, "Raspberry Pi 4")
    assert row.estimate == "Raspberry Pi 4"
    assert "estimate" in row.warnings[0]
    assert row.fps == pytest.approx(1e3 / row.stages_ms["inference"])
    assert estimate.estimate_row("x", Path("nowhere.tflite"), 4, "Raspberry Pi 4").error


def test_frames_never_end(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((20, 30, 3), np.uint8))
    supply = measure.Frames(str(tmp_path))
    assert [Path(next(supply).source).name for _ in range(4)] == ["b.png", "a.png", "b.png", "a.png"]
    assert next(measure.Frames("synthetic:1")).image.shape == (480, 640, 3)
    with pytest.raises(EdgePoseError):
        measure.Frames("nowhere.png")


def test_health_is_read_from_kernel_and_firmware(tmp_path: Path) -> None:
    files = {
        "sys/class/thermal/thermal_zone0/temp": "61234\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "proc/stat": "cpu  100 0 50 1000 10 5 5 30 0 0\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    found = health.read(tmp_path)
    assert found == health.Health(
        61.234, 1500.0, ("undervoltage", "throttled", "undervoltage since boot", "throttled since boot")
    )
    assert found.throttled
    assert not health.Health(None, None, ("throttled since boot",)).throttled
    assert health.read(tmp_path / "nowhere") == health.Health(None, None, None)
    before = health.ProcessorTime.read(tmp_path)
    assert before.busy_s == pytest.approx(1.9)
    assert health.ProcessorTime(before.busy_s + 3, before.own_s + 1).compute_others_s(before) == pytest.approx(2.0)


def test_a_worker_that_hangs_is_an_error_in_its_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 1000\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.setattr(runner, "_SILENCE_TIMEOUT_S", 0.5)
    row = runner.run_worker("x.tflite", tmp_path / "x.tflite", 1, 1.0, "synthetic:1")
    assert "hung" in row.error


@pytest.mark.convert
def test_a_network_of_any_size_is_measured_at_a_real_size(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It was measured with one pixel."""
    import tensorflow as tf

    function = tf.function(
        lambda x: tf.nn.conv2d(x, tf.ones((3, 3, 3, 8)), 8, "SAME"),
        input_signature=[tf.TensorSpec((1, None, None, 3), tf.float32)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    (tmp_path / "net.tflite").write_bytes(converter.convert())
    result = call_edgepose(capfd, "profile", tmp_path / "net.tflite", "--seconds", "0.1", "--threads", "1")
    assert "432x368" in result.stdout
    assert "no fixed input size: measured with (1, 368, 432, 3)" in result.stderr
    row = estimate.estimate_row("net", tmp_path / "net.tflite", 1, "Raspberry Pi 4")
    assert "fixed input size" in row.error
