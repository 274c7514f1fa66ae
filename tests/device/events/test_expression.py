"""Expressions: values, missing keypoints, and everything that is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.device.events.body_anchor import BodyAnchor, BodyIndex
from edgepose.device.events.expression_parser import MAX_LENGTH, ExpressionError, compile_expression
from edgepose.device.events.person import Person, measure_people
from edgepose.runtime.skeleton import COCO18, get_skeleton

from .walkers import make_pose


def make_person(missing: tuple[str, ...] = ()) -> Person:
    pose = make_pose((300.0, 400.0), 200.0, 1)
    pose.keypoints[[COCO18.index(name) for name in missing]] = 0
    pose.keypoints[COCO18.index("nose"), 2] = 0 if "nose" in missing else 0.5
    return Person(pose, pose.keypoints.tolist(), 0.0, BodyAnchor(BodyIndex.of(COCO18)))


def compute(text: str, *missing: str) -> bool | None:
    return compile_expression(text, COCO18)(make_person(missing))


@pytest.mark.parametrize(
    "text, value",
    [
        ("right_wrist.y < nose.y", False),
        ("right_wrist.y > nose.y", True),
        ("nose.x == 300 and nose.y != 400", True),
        ("right_wrist.y < nose.y and distance(left_wrist, right_wrist) < 0.2 * height", False),
        ("distance(left_wrist, right_wrist) < 0.3 * height", True),
        ("angle(left_shoulder, left_elbow, left_wrist) > 160", True),
        ("angle(nose, nose, neck) > 0", None),
        ("100 < nose.x < 200 < nose.y", False),
        ("100 < nose.x < 400", True),
        ("not nose.x < 0", True),
        ("-nose.x < -299 and +nose.x > 299", True),
        ("nose.score == 0.5 and score > 0.7", True),
        ("(nose.x - neck.x) / (nose.x - neck.x) > 0", None),
        ("abs(nose.x - feet.x) < 1 and abs(feet.y - 400) < 1", True),
        ("max(nose.y, neck.y, feet.y) > min(1, 2) and min(3, 2) == 2", True),
        ("torso > 50 and width > 40 and speed == 0", True),
        ("visible(nose)", True),
        ("center.y < feet.y or nose.x < 0", True),
        ("  nose.x > 1\n  and nose.y > 1  ", True),
        ("nose.x > 1  # above\nand nose.x < 2  # never", False),
        ("1e8 * 1e8 * 1e8 * 1e8 * 1e8 * 1e8 * 1e8 * 1e8 * 1e8 > nose.x", True),
        ("1 / 3 * 3 == 1.0 and nose.x > 0", True),
    ],
)
def test_values(text: str, value: bool | None) -> None:
    assert compute(text) is value


@pytest.mark.parametrize(
    "text, value",
    [
        ("nose.x > 0", None),
        ("not nose.x > 0", None),
        ("nose.x > 0 and neck.x > 0", None),
        ("nose.x > 0 and neck.x < 0", False),
        ("neck.x < 0 and nose.x > 0", False),
        ("nose.x > 0 or neck.x > 0", True),
        ("nose.x > 0 or neck.x < 0", None),
        ("nose.score > 0.1", False),
        ("visible(nose) and nose.x > 0", False),
        ("abs(nose.x) > 0", None),
        ("distance(nose, neck) > 0", None),
        ("-nose.x > 0", None),
        ("0 < nose.x < 9", None),
    ],
)
def test_a_missing_keypoint_is_unknown_unless_the_other_side_decides(text: str, value: bool | None) -> None:
    assert compute(text, "nose") is value


@pytest.mark.parametrize(
    "text, words",
    [
        ("right_wirst.y < nose.y", "column 1: no keypoint 'right_wirst'; did you mean right_wrist?"),
        ("nose.y < right_wirst.y", "column 10: no keypoint 'right_wirst'; did you mean right_wrist?"),
        ("  nose.z < 1", "column 3: nose has no .z; "),
        ("nose.y < 1 and", "column"),
        ("nose.y <", "column 9: expected a condition such as"),
        ("nose.y = 3", "column 8: expected `==`, got ="),
        ("nose.y < 3 && neck.y < 3", "column 12: expected `and`, got &&"),
        ("!visible(nose)", "column 1: expected `not`, got !"),
        ("knee.y < 3", "column 1: expected the side of 'knee': right_knee or left_knee"),
        ("left_hand.y < 3", "column 1: no keypoint 'left_hand'; did you mean left_wrist?"),
        ("nose.y", "expected a condition such as right_wrist.y < nose.y, got a number"),
        ("nose", "got a keypoint"),
        ("1 < 2", "expected at least one keypoint or measure of the person (height, width, torso, score, speed)"),
        ("not min(1, 2) > 3 or 1 == 1", "got only numbers"),
        ("nose < 3", "column 1: expected a number, got a keypoint; write .x, .y or .score behind it"),
        ("nose.y and nose.x", "column 1: expected a condition, got a number"),
        ("(nose.y < 3) + 1 > 2", "expected a number, got a condition"),
        ("not nose.y", "column 5: expected a condition, got a number"),
        ("nose.y ** 2 > 3", "column 1: expected one of + - * / between the numbers"),
        ("nose.y // 2 > 3", "expected one of + - * /"),
        ("nose.y % 2 > 3", "expected one of + - * /"),
        ("1 << 9 > 3", "expected one of + - * /"),
        ("nose.y is 3", "column 11: expected one of < <= > >= == != before this"),
        ("nose.y in (3, 4)", "column 11: expected keypoints, numbers, comparisons"),
        ("height.x > 1", "column 1: height has no .x: it is a number"),
        ("feet.score > 1", "column 1: feet has no .score; "),
        ("distance(nose) > 1", "column 1: distance: expected 2 keypoints, got 1"),
        ("angle(nose, neck) > 1", "angle: expected 3 keypoints, got 2"),
        ("distance(nose.x, neck.x) > 1", "column 10: expected a keypoint, got a number"),
        ("min(3) > 1", "min: expected at least 2 numbers, got 1"),
        ("distanec(nose, neck) > 1", "no function 'distanec'; did you mean distance?"),
        ("distance(nose, neck=neck) > 1", "expected one of the functions"),
        ("distance(*nose) > 1", "column 1: distance: expected 2 keypoints, got 1"),
        ("True", "column 1: expected a number"),
        ("'a' < 'b'", "column 1: expected a number"),
        ("1j < 2", "column 1: expected a number"),
        ("None", "expected a number"),
        ("1e10 > 2", "column 1: expected a number of at most 1e+09"),
        ("9" * 400 + " > 2", "expected a number of at most"),
        ("0x" + "f" * 400 + " > 2", "expected a number of at most"),
        ("1e999 > 2", "expected a number of at most"),
        ("", "expected a condition such as"),
        (" \n ", "expected a condition such as"),
        ("nose.x > 1 " * 60, "expected at most 500 characters"),
        ("(" * 220 + "nose.x > 1" + ")" * 220, "too many"),
        ("not " * 40 + "nose.x > 1", "the expression is too complex"),
        ("-" * 400 + "1 > 2", "the expression is too complex"),
        ("-" * 490 + "1 > 2", "too complex"),
        ("1" + "+1" * 100 + " > 2", "the expression is too complex"),
        ("__import__('os').system('true')", "column 1: expected one of the functions"),
        ("nose.__class__ > 1", "nose has no .__class__"),
        ("nose.x.real > 1", "column 1: expected a keypoint before the dot"),
        ("().__class__ > 1", "expected a keypoint before the dot"),
        ("[x for x in nose] > 1", "column 1: expected keypoints"),
        ("(lambda: 1)() > 1", "expected one of the functions"),
        ("(x := 1) > 2", "column 2: expected keypoints"),
        ("nose.x if 1 > 2 else nose.y", "column 1: expected keypoints"),
        ("nose[0] > 1", "column 1: expected keypoints"),
        ("f'{nose}' > 1", "column 1: expected keypoints"),
        ("nose.x > 1; import os", "column"),
        ("nose.x > 1 # comment", None),
        ("nose.x\0 > 1", ""),
        ("ñose.x > 1 and ñ.y > 1", "column 1: no keypoint 'ñose'; did you mean nose?"),
        ("1 > 2 or 'ñññ' > 1", "column 10: expected a number"),
        ("nose.x > 1 and (1 > 2 or 'é' == wrong)", "column 26"),
        ("await nose", "column"),
        ("yield", "column"),
        ("...", "expected a number"),
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str, words: str | None) -> None:
    if words is None:
        compile_expression(text, COCO18)
        return
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, COCO18)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_names_are_those_of_the_skeleton() -> None:
    compile_expression("right_big_toe.y > 1 and mid_hip.x > 2", get_skeleton("body25"))
    with pytest.raises(ExpressionError, match="no keypoint"):
        compile_expression("mid_hip.x > 2", COCO18)


names = st.sampled_from(["nose", "left_wrist", "feet", "height", "speed", "torso", "score", "x", "__class__", "é"])
pieces = st.sampled_from(
    ["<", ">", "==", " and ", " or ", " not ", "(", ")", "+", "-", "*", "/", ".x", ".y", ".score", ",", "distance(",
     "angle(", "abs(", "min(", "visible(", "1", "0.5", "1e9", "**", "//", "[", "]", "lambda", "'", "{", ":", "\n", "if"]
)  # fmt: skip
texts = st.lists(names | pieces, max_size=30).map("".join) | st.text(max_size=MAX_LENGTH + 5)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_any_text_is_refused_with_one_line_or_computed(text: str) -> None:
    try:
        function = compile_expression(text, COCO18)
    except ExpressionError as error:
        assert "\n" not in str(error)
        return
    for person in (make_person(), make_person(("nose", "left_wrist", "neck")), make_person(COCO18.keypoints[1:])):
        assert function(person) in (True, False, None)


number = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["nose.x", "left_wrist.y", "height", "torso", "feet.y", "speed", "0", "1", "2.5", "1e9"]),
        st.tuples(number, st.sampled_from("+-*/"), number).map(lambda part: f"({part[0]} {part[1]} {part[2]})"),
        st.tuples(st.sampled_from(["min", "max"]), number, number).map(lambda part: f"{part[0]}({part[1]}, {part[2]})"),
        number.map(lambda part: f"abs({part})"),
    )
)
condition = st.deferred(
    lambda: st.one_of(
        st.tuples(number, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), number).map(" ".join),
        st.tuples(condition, st.sampled_from(["and", "or"]), condition).map(lambda part: f"({' '.join(part)})"),
        condition.map(lambda part: f"(not {part})"),
    )
)


@settings(max_examples=150, deadline=None)
@given(condition)
def test_valid_expressions_compute_what_python_does(text: str) -> None:
    person = make_person()
    try:
        found = compile_expression(text, COCO18)(person)
    except ExpressionError as error:
        assert any(words in str(error) for words in ("too complex", "at most", "got only numbers"))
        return

    class Point:
        def __init__(self, x: float, y: float) -> None:
            self.x, self.y = x, y

    values = {
        "nose": Point(*person.points[COCO18.index("nose")][:2]),
        "left_wrist": Point(*person.points[COCO18.index("left_wrist")][:2]),
        "feet": Point(*person.feet), "height": person.height, "torso": person.torso, "speed": person.speed,
    }  # fmt: skip
    try:
        expected = eval(text, {"min": min, "max": max, "abs": abs, "__builtins__": {}}, values)
    except ZeroDivisionError:
        return
    assert found == expected or found is None or math.isnan(float(person.speed))


def test_a_score_of_numpy_decides_as_one_of_python() -> None:
    pose = make_pose((300, 400), person=1)
    person = measure_people([replace(pose, score=np.float32(0.2))])[0]
    assert compile_expression("score > 0.5 and visible(nose)", COCO18)(person) is False
