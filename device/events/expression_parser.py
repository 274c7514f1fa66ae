"""Compiler for expressions over keypoints: a checked syntax tree becomes functions. Nothing is ever passed to `eval`.

Python parses the text. Only the parts below are accepted; everything else is refused with its column. Every part has a
kind (number, condition, point), so that a valid expression cannot fail later. A value is None if a keypoint is missing
or a number is divided by zero; `and` and `or` then give None unless the other side decides.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import hypot
from typing import Any, Literal

from ...runtime.skeleton import Skeleton
from ...runtime.skeleton_table import suggest_name
from .geometry import Point, compute_angle
from .person import Person

MAX_LENGTH = 500
_MAX_DEPTH = 30
_MAX_NODES = 300
_MAX_NUMBER = 1e9
_WRONG_OPERATORS = {r"&&": "`and`", r"\|\|": "`or`", r"(?<![<>=!])=(?!=)": "`==`", r"!(?!=)": "`not`"}
"""Operators of other languages, as regular expressions, and what to write instead."""

Value = float | bool | Point | None
Function = Callable[[Person], Any]
Kind = Literal["a number", "a condition", "a keypoint"]


class ExpressionError(ValueError):
    """An expression is not valid; the message names the column."""


@dataclass(frozen=True)
class _Part:
    """A compiled part of an expression."""

    kind: Kind
    get: Function


def compile_expression(text: str, skeleton: Skeleton) -> Callable[[Person], bool | None]:
    """Compile a condition such as `right_wrist.y < nose.y and torso > 0.2 * height`.

    Args:
        text: The expression; docs/guides/events.md describes it.
        skeleton: Skeleton whose keypoints it may name.

    Returns:
        A function of a person; None if keypoints are missing.

    Raises:
        ExpressionError: The text is not valid, is no condition, or uses something else than what is allowed.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"expected at most {MAX_LENGTH} characters, got {len(text)}")
    # Without strings in the language, every # begins a comment. Spaces instead of it keep the columns.
    line = " ".join(part.partition("#")[0].ljust(len(part)) for part in text.split("\n")).rstrip()
    start = len(line) - len(line.lstrip())
    line = line.lstrip()
    if not line:
        raise ExpressionError("expected a condition such as right_wrist.y < nose.y, got nothing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(line, mode="eval")
    except SyntaxError as error:
        raise ExpressionError(_describe_syntax_error(line, start, error)) from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("it has characters that are not allowed, or too many parentheses") from None
    compiler = _Compiler(line, start, skeleton)
    part = compiler.compile(tree.body, 0)
    if part.kind != "a condition":
        raise ExpressionError(f"expected a condition such as right_wrist.y < nose.y, got {part.kind}")
    if not compiler.is_about_person:
        raise ExpressionError(
            f"expected at least one keypoint or measure of the person ({', '.join(_NUMBERS)}), got only numbers"
        )
    return part.get


class _Compiler:
    def __init__(self, line: str, start: int, skeleton: Skeleton) -> None:
        self._line, self._start, self._skeleton = line, start, skeleton
        self._keypoints = {name: index for index, name in enumerate(skeleton.keypoints) if name.isidentifier()}
        self._nodes = 0
        self.is_about_person = False
        """True if a keypoint or a measure of the person was compiled."""

    def compile(self, node: ast.expr, depth: int) -> _Part:
        """Compile one node.

        Raises:
            ExpressionError: The node is not allowed here.
        """
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise self._fail(node, "the expression is too complex; use several rules")
        match node:
            case ast.Constant():
                return self._compile_number(node)
            case ast.Name():
                return self._compile_name(node)
            case ast.Attribute():
                return self._compile_coordinate(node)
            case ast.Call():
                return self._compile_call(node, depth)
            case ast.Compare():
                return self._compile_comparison(node, depth)
            case ast.BoolOp():
                functions = [self._compile_kind(value, depth, "a condition") for value in node.values]
                return _Part("a condition", _join_conditions(functions, isinstance(node.op, ast.And)))
            case ast.UnaryOp():
                return self._compile_unary(node, depth)
            case ast.BinOp():
                return self._compile_arithmetic(node, depth)
        raise self._fail(
            node, f"expected keypoints, numbers, comparisons, and, or, not, + - * / and {', '.join(_FUNCTIONS)}"
        )

    def _compile_kind(self, node: ast.expr, depth: int, kind: Kind) -> Function:
        part = self.compile(node, depth + 1)
        if part.kind != kind:
            hint = "; write .x, .y or .score behind it" if part.kind == "a keypoint" and kind == "a number" else ""
            raise self._fail(node, f"expected {kind}, got {part.kind}{hint}")
        return part.get

    def _compile_number(self, node: ast.Constant) -> _Part:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._fail(node, "expected a number")
        if not -_MAX_NUMBER <= value <= _MAX_NUMBER:
            raise self._fail(node, f"expected a number of at most {_MAX_NUMBER:g}")
        number = float(value)
        return _Part("a number", lambda person: number)

    def _compile_name(self, node: ast.Name) -> _Part:
        name = node.id
        self.is_about_person = True  # every other name is refused below
        if name in _NUMBERS:
            return _Part("a number", _NUMBERS[name])
        if name in _POINTS:
            return _Part("a keypoint", _POINTS[name])
        if name in self._keypoints:
            return _Part("a keypoint", _make_point_getter(self._keypoints[name]))
        if {f"right_{name}", f"left_{name}"} <= self._keypoints.keys():
            raise self._fail(node, f"expected the side of {name!r}: right_{name} or left_{name}")
        known = [*self._keypoints, *_POINTS, *_NUMBERS]
        raise self._fail(node, f"no keypoint {name[:64]!r}; {suggest_name(name, known)}")

    def _compile_coordinate(self, node: ast.Attribute) -> _Part:
        if not isinstance(node.value, ast.Name):
            raise self._fail(node, "expected a keypoint before the dot")
        self._nodes += 1
        point = self._compile_name(node.value)
        name = node.value.id
        if point.kind != "a keypoint":
            raise self._fail(node, f"{name} has no .{node.attr[:64]}: it is {point.kind}")
        fields = ("x", "y", "score") if name in self._keypoints else ("x", "y")
        if node.attr not in fields:
            raise self._fail(node, f"{name} has no .{node.attr[:64]}; {suggest_name(node.attr, fields)}")
        if name in self._keypoints:
            return _Part("a number", _make_coordinate_getter(self._keypoints[name], fields.index(node.attr)))
        axis, get = fields.index(node.attr), point.get
        return _Part("a number", lambda person: get(person)[axis])

    def _compile_call(self, node: ast.Call, depth: int) -> _Part:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self._fail(node, f"expected one of the functions {', '.join(_FUNCTIONS)}")
        name = node.func.id
        if name not in _FUNCTIONS:
            raise self._fail(node, f"no function {name[:64]!r}; {suggest_name(name, list(_FUNCTIONS))}")
        function = _FUNCTIONS[name]
        count = len(node.args)
        if not function.minimum <= count <= function.maximum:
            expected = f"{function.minimum}" if function.minimum == function.maximum else f"at least {function.minimum}"
            raise self._fail(node, f"{name}: expected {expected} {function.argument.removeprefix('a ')}s, got {count}")
        arguments = [self._compile_kind(argument, depth, function.argument) for argument in node.args]
        return _Part(function.result, function.make(arguments))

    def _compile_comparison(self, node: ast.Compare, depth: int) -> _Part:
        operands = [self._compile_kind(value, depth, "a number") for value in (node.left, *node.comparators)]
        pieces = []
        for number, operator in enumerate(node.ops):
            make = _COMPARISONS.get(type(operator))
            if make is None:
                raise self._fail(node.comparators[number], "expected one of < <= > >= == != before this")
            pieces.append(make(operands[number], operands[number + 1]))
        return _Part("a condition", pieces[0] if len(pieces) == 1 else _join_conditions(pieces, is_and=True))

    def _compile_unary(self, node: ast.UnaryOp, depth: int) -> _Part:
        if isinstance(node.op, ast.Not):
            condition = self._compile_kind(node.operand, depth, "a condition")
            return _Part("a condition", lambda person: None if (value := condition(person)) is None else not value)
        if not isinstance(node.op, ast.USub | ast.UAdd):
            raise self._fail(node, "expected not, + or -")
        number = self._compile_kind(node.operand, depth, "a number")
        if isinstance(node.op, ast.UAdd):
            return _Part("a number", number)
        return _Part("a number", lambda person: None if (value := number(person)) is None else -value)

    def _compile_arithmetic(self, node: ast.BinOp, depth: int) -> _Part:
        make = _ARITHMETIC.get(type(node.op))
        if make is None:
            raise self._fail(node, "expected one of + - * / between the numbers")
        left, right = (self._compile_kind(side, depth, "a number") for side in (node.left, node.right))
        return _Part("a number", make(left, right))

    def _fail(self, node: ast.expr, problem: str) -> ExpressionError:
        """Return an error with the column of a node, which Python counts in bytes."""
        before = self._line.encode()[: node.col_offset].decode(errors="ignore")
        return ExpressionError(f"column {self._start + len(before) + 1}: {problem}")


def _describe_syntax_error(line: str, start: int, error: SyntaxError) -> str:
    """Name the column and, for operators of other languages, what to write instead."""
    offset = error.offset or len(line.rstrip()) + 1  # 0: something is missing at the end
    for wrong, right in _WRONG_OPERATORS.items():
        if found := re.search(wrong, line):
            return f"column {start + found.start() + 1}: expected {right}, got {found.group()}"
    return f"column {start + offset}: expected a condition such as right_wrist.y < nose.y ({error.msg})"


def _make_point_getter(index: int) -> Function:
    def get(person: Person) -> Point | None:
        x, y, score = person.points[index]
        return (x, y) if score > 0 else None

    return get


def _make_coordinate_getter(index: int, axis: int) -> Function:
    def get(person: Person) -> float | None:
        point = person.points[index]
        return point[axis] if point[2] > 0 else None

    def get_score(person: Person) -> float:
        return person.points[index][2]

    return get_score if axis == 2 else get


def _join_conditions(functions: list[Function], is_and: bool) -> Function:
    """Join conditions: a side that decides counts even if another one is unknown."""
    deciding = not is_and

    def get(person: Person) -> bool | None:
        result: bool | None = is_and
        for function in functions:
            value: bool | None = function(person)
            if value is deciding:
                return deciding
            if value is None:
                result = None
        return result

    return get


def _make_comparison(compare: Callable[[float, float], bool]) -> Callable[[Function, Function], Function]:
    def make(left: Function, right: Function) -> Function:
        def get(person: Person) -> bool | None:
            a, b = left(person), right(person)
            return None if a is None or b is None else compare(a, b)

        return get

    return make


def _make_arithmetic(compute: Callable[[float, float], float | None]) -> Callable[[Function, Function], Function]:
    def make(left: Function, right: Function) -> Function:
        def get(person: Person) -> float | None:
            a, b = left(person), right(person)
            return None if a is None or b is None else compute(a, b)

        return get

    return make


_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Function, Function], Function]] = {
    ast.Lt: _make_comparison(lambda a, b: a < b),
    ast.LtE: _make_comparison(lambda a, b: a <= b),
    ast.Gt: _make_comparison(lambda a, b: a > b),
    ast.GtE: _make_comparison(lambda a, b: a >= b),
    ast.Eq: _make_comparison(lambda a, b: a == b),
    ast.NotEq: _make_comparison(lambda a, b: a != b),
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Function, Function], Function]] = {
    ast.Add: _make_arithmetic(lambda a, b: a + b),
    ast.Sub: _make_arithmetic(lambda a, b: a - b),
    ast.Mult: _make_arithmetic(lambda a, b: a * b),
    ast.Div: _make_arithmetic(lambda a, b: a / b if b else None),
}


@dataclass(frozen=True)
class _FunctionEntry:
    """A function of expressions: kind and number of its arguments, kind of its result."""

    argument: Kind
    minimum: int
    maximum: int
    result: Kind
    make: Callable[[list[Function]], Function]


def _make_distance(arguments: list[Function]) -> Function:
    first, second = arguments

    def get(person: Person) -> float | None:
        a, b = first(person), second(person)
        return None if a is None or b is None else hypot(a[0] - b[0], a[1] - b[1])

    return get


def _make_angle(arguments: list[Function]) -> Function:
    first, middle, last = arguments

    def get(person: Person) -> float | None:
        a, b, c = first(person), middle(person), last(person)
        return None if a is None or b is None or c is None else compute_angle(a, b, c)

    return get


def _make_visible(arguments: list[Function]) -> Function:
    (point,) = arguments
    return lambda person: point(person) is not None


def _make_number_function(compute: Callable[..., float]) -> Callable[[list[Function]], Function]:
    def make(arguments: list[Function]) -> Function:
        def get(person: Person) -> float | None:
            values = [argument(person) for argument in arguments]
            return None if None in values else compute(*values)

        return get

    return make


_FUNCTIONS: Mapping[str, _FunctionEntry] = {
    "distance": _FunctionEntry("a keypoint", 2, 2, "a number", _make_distance),
    "angle": _FunctionEntry("a keypoint", 3, 3, "a number", _make_angle),
    "visible": _FunctionEntry("a keypoint", 1, 1, "a condition", _make_visible),
    "abs": _FunctionEntry("a number", 1, 1, "a number", _make_number_function(lambda x: abs(x))),
    "min": _FunctionEntry("a number", 2, 10, "a number", _make_number_function(min)),
    "max": _FunctionEntry("a number", 2, 10, "a number", _make_number_function(max)),
}
_NUMBERS: Mapping[str, Function] = {
    "height": lambda person: person.height,
    "width": lambda person: person.box[2] - person.box[0],
    "torso": lambda person: person.torso,
    "score": lambda person: float(person.pose.score),
    "speed": lambda person: person.speed,
}
_POINTS: Mapping[str, Function] = {"feet": lambda person: person.feet, "center": lambda person: person.center}
