"""Skeleton files: the shipped ones, those of users, and errors that name the line."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgepose
from edgepose.runtime import COCO18, EstimateResult, Frame, InputError, Limb, ModelError, Pose, Skeleton, Timings
from edgepose.runtime.errors import UnknownNameError
from edgepose.runtime.io import formats
from edgepose.runtime.model.manifest import InputSpec, ModelManifest, OutputSpec
from edgepose.runtime.oks import compute_oks, get_sigmas
from edgepose.runtime.skeleton import get_skeleton, is_shipped, list_skeletons, load_skeleton
from edgepose.runtime.synthetic import derive_keypoints, has_figure
from edgepose.runtime.toml_lines import find_line
from edgepose.runtime.visualize.draw import compute_limb_colors, draw_poses

ARM = """\
# An arm.
name = "arm"
background = false
keypoints = [
    "left_shoulder",
    "left_elbow", "left_wrist",
    "right_wrist",
]
limbs = [
    { a = "left_shoulder", b = "left_elbow", paf = [0, 1] },
    # The second limb.
    { a = "left_elbow", b = "left_wrist", paf = [3, 2] },
    { a = "left_shoulder", b = 3, paf = [5, 4], can_seed = false },
]
left_right = [["left_wrist", "right_wrist"]]

[sigmas]
left_wrist = 0.05
"""


@pytest.fixture
def arm_file(tmp_path: Path) -> Path:
    path = tmp_path / "arm.toml"
    path.write_text(ARM, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "keypoints", "limbs", "heatmaps", "pafs", "coco"),
    [
        ("coco18", 18, 19, 19, 38, True),
        ("body25", 25, 26, 26, 52, True),
        ("mpi15", 15, 14, 16, 28, False),
        ("trt_pose18", 18, 21, 18, 42, True),
        ("hand21", 21, 20, 21, 40, False),
    ],
)
def test_the_shipped_skeletons(name: str, keypoints: int, limbs: int, heatmaps: int, pafs: int, coco: bool) -> None:
    skeleton = edgepose.load_skeleton(name)
    assert skeleton.name == name
    assert is_shipped(skeleton)
    assert (len(skeleton.keypoints), len(skeleton.limbs)) == (keypoints, limbs)
    assert (skeleton.heatmap_channels, skeleton.paf_channels) == (heatmaps, pafs)
    assert bool(skeleton.coco_order) == coco
    if coco:
        ordered = [skeleton.keypoints[i] for i in skeleton.coco_order]
        assert ordered == [COCO18.keypoints[i] for i in COCO18.coco_order]
    # OpenPose writes x before y, trt_pose y before x.
    step = -1 if name in ("trt_pose18", "hand21") else 1
    assert all(limb.paf_y == limb.paf_x + step and min(limb[2:4]) % 2 == 0 for limb in skeleton.limbs)
    for left, right in skeleton.left_right:
        assert skeleton.keypoints[left].replace("left_", "right_") == skeleton.keypoints[right]
    assert 2 * len(skeleton.left_right) == sum(name.startswith(("left_", "right_")) for name in skeleton.keypoints)
    connected = {0}
    for _ in skeleton.limbs:
        connected |= {end for limb in skeleton.limbs for end in limb[:2] if connected & set(limb[:2])}
    assert len(connected) == keypoints


def test_coco18_has_not_changed() -> None:
    """The table as it was in code before it became a file."""
    assert [tuple(limb[:4]) for limb in COCO18.limbs] == [
        (1, 2, 12, 13), (1, 5, 20, 21), (2, 3, 14, 15), (3, 4, 16, 17), (5, 6, 22, 23), (6, 7, 24, 25), (1, 8, 0, 1),
        (8, 9, 2, 3), (9, 10, 4, 5), (1, 11, 6, 7), (11, 12, 8, 9), (12, 13, 10, 11), (1, 0, 28, 29), (0, 14, 30, 31),
        (14, 16, 34, 35), (0, 15, 32, 33), (15, 17, 36, 37), (2, 16, 18, 19), (5, 17, 26, 27),
    ]  # fmt: skip
    assert [limb.can_seed for limb in COCO18.limbs] == [True] * 17 + [False] * 2
    assert COCO18.coco_order == (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
    assert COCO18.mirror_order == (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
    assert COCO18.sigmas[:5] == (0.026, 0.079, 0.079, 0.072, 0.062)


def test_a_file_of_a_user(arm_file: Path) -> None:
    arm = edgepose.load_skeleton(arm_file)
    assert arm.limbs == (Limb(0, 1, 0, 1), Limb(1, 2, 3, 2), Limb(0, 3, 5, 4, can_seed=False))
    assert (arm.left_right, arm.mirror_order) == (((2, 3),), (0, 1, 3, 2))
    assert arm.sigmas == (0.079, 0.072, 0.05, 0.062)  # those that are not listed are COCO's
    assert arm.heatmap_channels == 4
    assert not is_shipped(arm)
    assert load_skeleton(str(arm_file)) == arm


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('b = "left_wrist"', 'b = "left_wirst"',
         ':12: limb 2: keypoint "left_wirst" is not in keypoints; did you mean "left_wrist"?'),
        ("b = 3", "b = 9", ":13: limb 3: expected the name of a keypoint, or its index from 0 to 3, got 9"),
        ("paf = [3, 2]", "paf = [3, 6]", ":12: limb 2: paf: expected 0 to 5, got 6"),
        ("paf = [3, 2]", "paf = [3, 1]", ":12: limb 2: paf: channel 1 belongs to limb 1 already"),
        ("paf = [3, 2]", "paf = [3]", ":12: limb 2: paf: expected 2 values, got [3]"),
        ("paf = [3, 2]", 'paf = [3, "2"]', ":12: limb 2: paf: expected an integer, got '2'"),
        ('paf = [5, 4], can_seed = false', 'paf = [5, 4], seed = false', ":13: limb 3: seed: there is no such key"),
        (', paf = [3, 2]', "", ":12: limb 2: 'paf' is missing"),
        ("b = 3", 'b = "left_elbow"', ":13: limb 3: limb 1 connects the same keypoints"),
        ("background = false", 'background = "no"', ":3: background: expected true or false, got 'no'"),
        ("background = false", "backround = false", ":3: backround: there is no such key; did you mean background?"),
        ('    "right_wrist",', '    "left_elbow",', ":7: keypoints[3]: 'left_elbow' is listed twice"),
        ('    "right_wrist",', '    "",', ":7: keypoints[3]: expected a name of 1 to 64 printable characters, got ''"),
        ("left_wrist = 0.05", "left_wrist = 5", ":18: sigmas.left_wrist: expected a number above 0 and below 1, got 5"),
        ("left_wrist = 0.05", "left_wirst = 0.05", ':18: sigmas.left_wirst: keypoint "left_wirst" is not in keypoints'),
        ('"left_wrist", "right_wrist"]]', '"left_wrist", 2]]', ":15: left_right[0][1]: keypoint 2 is in a pair"),
        ('name = "arm"', "", ":1: 'name' is missing"),
        ('name = "arm"', 'name = "arm', ":2: not valid TOML: "),
        ('name = "arm"', 'name = "\\u001b[31m"', ":2: name: expected 1 to 64 letters"),
        ("[sigmas]", 'coco_order = ["left_wrist"]\n[sigmas]', ":17: coco_order: expected 17 different keypoints"),
        ("[sigmas]", 'coco_order = [\n"x"]\n[sigmas]', ':18: coco_order[0]: keypoint "x" is not in keypoints'),
    ],
)  # fmt: skip
def test_errors_name_file_and_line(arm_file: Path, old: str, new: str, message: str) -> None:
    assert old in ARM
    arm_file.write_text(ARM.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_skeleton(arm_file)
    assert f"{arm_file}{message}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_other_bad_files_are_one_line_errors(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    for content in (
        b"\xff\xfe",
        b"",
        b"a = " + b"[" * 100_000,
        b"x = 1" + b"0" * 10_000,
        b"#" * (1 << 21),
        b"a = 1\x00",
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.toml"):
            load_skeleton(path)
    for missing in (tmp_path / "none.toml", tmp_path):
        with pytest.raises((InputError, UnknownNameError), match=str(missing)):
            load_skeleton(missing)
    with pytest.raises(UnknownNameError, match="no skeleton 'body52'; did you mean body25"):
        load_skeleton("body52")


def test_a_file_with_many_keypoints_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "many.toml"
    names = ", ".join(f'"k{number}"' for number in range(9000))
    limbs = ", ".join('{a="k8998",b="k8999",paf=[0,1]}' for _ in range(3000))
    path.write_text(f'name = "many"\nkeypoints = [{names}]\nlimbs = [{limbs}]\n')
    start_s = time.process_time()
    with pytest.raises(InputError, match=r"many\.toml:2: keypoints: expected 2 to 256 keypoints, got 9000"):
        load_skeleton(path)
    assert time.process_time() - start_s < 1
    path.write_text("#" * (1 << 19))
    with pytest.raises(InputError, match=r"expected at most 0\.262 MB"):
        load_skeleton(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_changed_files_never_raise_anything_else(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = Path(edgepose.runtime.skeleton.__file__).with_name("skeletons").joinpath("mpi15.toml").read_text("utf-8")
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 20))
    piece = data.draw(st.text(alphabet='[]{}=,."\n0189axyn# ', max_size=6))
    path = tmp_path_factory.mktemp("changed") / "x.toml"
    path.write_text(text[:start] + piece + text[start + length :], encoding="utf-8")
    try:
        load_skeleton(path)
    except InputError as error:
        assert str(error).startswith(str(path))


def test_lines_of_entries() -> None:
    text = '# x = 1\na.b = [1, """\n""",\n {c = "]"},\n]\n\n[t."u v"] # [no]\nk = \'#\'\n'
    text += "[[list]]\nm = 1\n[[list]]\nm = 2.5\n"
    places = {"a.b": 2, "a.b[1]": 2, "a.b[2].c": 4, "t": 1, "t.'u v'": 7, "t.'u v'.k": 8, "list[1].m": 12, "list[0]": 9}
    assert {place: find_line(text, place) for place in places} == places
    assert find_line(text, "a.b[2].missing") == 4


PLAIN = ModelManifest(
    "net", "0" * 64, 10, InputSpec("image", 128, 96), OutputSpec("heatmaps", 0, 4), OutputSpec("pafs", 0, 6),
    skeleton="arm",
)  # fmt: skip


def test_a_manifest_holds_the_whole_skeleton(arm_file: Path) -> None:
    arm = load_skeleton(arm_file)
    manifest = replace(PLAIN, skeleton_definition=arm)
    text = manifest.to_json()
    assert ModelManifest.from_json(text) == manifest
    assert ModelManifest.from_json(text).skeleton_table == arm
    document = json.loads(text)
    del document["skeleton_definition"]
    with pytest.raises(ModelError, match=r"manifest\.skeleton: expected one of coco18"):
        ModelManifest.from_json(json.dumps(document))


def test_a_shipped_skeleton_is_stored_by_name_and_old_manifests_load() -> None:
    body25 = replace(PLAIN, skeleton="body25", heatmaps=OutputSpec("h", 0, 26), pafs=OutputSpec("p", 0, 52))
    assert ModelManifest.from_json(body25.to_json()).skeleton_table is get_skeleton("body25")
    old = json.loads(replace(PLAIN, heatmaps=OutputSpec("h", 0, 19), pafs=OutputSpec("p", 0, 38)).to_json())
    old["skeleton"] = "coco18"
    del old["skeleton_definition"]
    assert ModelManifest.from_json(json.dumps(old)).skeleton_table is COCO18


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("limbs", [{"a": 0, "b": 99, "paf_x": 0, "paf_y": 1}], r"limbs\[0\].b: expected 0 to 3, got 99"),
        ("limbs", [{"a": 0, "b": -1, "paf_x": 0, "paf_y": 1}], r"limbs\[0\].b"),
        ("limbs", [{"a": 0, "b": 1, "paf_x": 0, "paf_y": 1, "c": 1}], "no such key"),
        ("limbs", [{"a": 0, "b": 1, "paf_x": 0, "paf_y": 1}] * 5000, "expected 1 to 1024 limbs"),
        ("limbs", [], "expected 1 to 1024 limbs"),
        ("keypoints", ["k"] * 100_000, "expected 2 to 256 keypoints"),
        ("keypoints", ["a", "b", "c", "\x1b[31m"], "printable"),
        ("coco_order", [0] * 17, "17 different keypoints"),
        ("sigmas", [0.1], "one number per keypoint"),
        ("sigmas", [0.1, 0.1, 0.1, float("inf")], "expected a number"),
        ("left_right", [[0, 0]], "in a pair already"),
        ("name", "other", "skeleton_definition.name: expected 'arm', got 'other'"),
        ("background", True, "manifest.heatmaps: expected 5 channels"),
    ],
)
def test_an_invalid_skeleton_in_a_manifest_is_refused(arm_file: Path, key: str, value: object, message: str) -> None:
    document = json.loads(replace(PLAIN, skeleton_definition=load_skeleton(arm_file)).to_json())
    document["skeleton_definition"][key] = value
    with pytest.raises(ModelError, match=message) as caught:
        ModelManifest.from_json(json.dumps(document))
    assert "\x1b" not in str(caught.value)


def make_result(skeleton: Skeleton, people: int = 1) -> tuple[Frame, EstimateResult]:
    rng = np.random.default_rng(3)
    points = np.column_stack((rng.uniform(40, 760, (len(skeleton.keypoints), 2)), np.ones(len(skeleton.keypoints))))
    poses = (Pose(points.astype(np.float32), 0.8, skeleton=skeleton),) * people
    frame = Frame(np.zeros((800, 800, 3), np.uint8), "x.png")
    return frame, EstimateResult(poses, Timings(1, 2, 3), frame, skeleton)


@pytest.mark.parametrize("name", list_skeletons())
def test_outputs_follow_the_skeleton(name: str) -> None:
    skeleton = load_skeleton(name)
    frame, result = make_result(skeleton)
    line = result.to_dict()
    assert len(line["poses"][0]["keypoints"]) == len(skeleton.keypoints)
    assert line.get("skeleton", "coco18") == name
    assert ("skeleton" in line) == (name != "coco18")
    assert json.loads(formats.format_edgepose_line(*make_result(skeleton, 0))).get("skeleton", "coco18") == name
    [person] = result.to_openpose()["people"]
    assert len(person["pose_keypoints_2d"]) == 3 * len(skeleton.keypoints)
    assert result[0][skeleton.keypoints[-1]].found
    if skeleton.coco_order:
        [entry] = result.to_coco()
        assert entry["keypoints"][27:29] == pytest.approx(result[0]["left_wrist"][:2], abs=0.01)
    else:
        with pytest.raises(InputError, match=f"which the skeleton {name} does not have"):
            result.to_coco()
    drawn = draw_poses(frame.image, result)
    assert len(set(compute_limb_colors(skeleton))) == len(skeleton.limbs)
    for limb, color in zip(skeleton.limbs, compute_limb_colors(skeleton), strict=True):
        is_drawn = (np.abs(drawn.astype(int) - color).max(axis=2) < 10).any()
        assert is_drawn == limb.can_seed
    assert compute_oks(result[0].keypoints, result[0].keypoints, get_sigmas(skeleton)) == 1


@pytest.mark.parametrize("name", list_skeletons())
def test_the_tracker_follows_the_skeleton(name: str) -> None:
    skeleton = load_skeleton(name)
    poses = make_result(skeleton)[1].poses
    tracker, smoother = edgepose.Tracker(skeleton), edgepose.OneEuroSmoother()
    for time_s in (0.0, 0.1):
        [pose] = smoother.update(tracker.update(poses, time_s), time_s)
        assert (pose.person, pose.skeleton) == (1, skeleton)
    if len(skeleton.keypoints) != 18:
        with pytest.raises(ValueError, match=f"expected poses with 18 keypoints, got {len(skeleton.keypoints)}"):
            edgepose.Tracker().update(poses, 0.0)


def test_the_synthetic_people_have_the_keypoints_of_other_bodies(arm_file: Path) -> None:
    people = edgepose.runtime.synthetic.Scene(3).render_frame(0).keypoints
    assert [name for name in list_skeletons() if has_figure(load_skeleton(name))] == list(list_skeletons())[:4]
    np.testing.assert_array_equal(derive_keypoints(people, COCO18), people)
    body25, mpi15 = load_skeleton("body25"), load_skeleton("mpi15")
    body = derive_keypoints(people, body25)
    assert body.shape == (3, 25, 2)
    for part in ("big_toe", "small_toe", "heel"):  # the people face the viewer: feet are below and outside of the ankle
        left, right = body[:, body25.index(f"left_{part}")], body[:, body25.index(f"right_{part}")]
        assert (left[:, 1] > body[:, body25.index("left_ankle"), 1]).all()
        assert (left[:, 0] >= body[:, body25.index("left_ankle"), 0]).all()
        assert (right[:, 0] <= body[:, body25.index("right_ankle"), 0]).all()
    head = derive_keypoints(people, mpi15)[:, mpi15.index("head")]
    assert (head[:, 1] < people[:, 0, 1]).all()  # above the nose
    with pytest.raises(ValueError, match="hand21"):
        derive_keypoints(people, load_skeleton("hand21"))
