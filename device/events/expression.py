"""Rule for a condition over keypoints that the user writes."""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.skeleton import COCO18, Skeleton
from .condition import ConditionConfig, ConditionRule
from .expression_parser import ExpressionError, compile_expression
from .person import Person


@dataclass(frozen=True, kw_only=True)
class ExpressionConfig(ConditionConfig):
    """Table `[[events.expression]]`.

    Attributes:
        expression: Condition over keypoints, such as `right_wrist.y < nose.y`; docs/guides/events.md describes it.
    """

    expression: str


class ExpressionRule(ConditionRule):
    """Rule for people that an expression is true for."""

    kind = "expression"
    event = "expression"

    def __init__(self, config: ExpressionConfig, skeleton: Skeleton = COCO18) -> None:
        super().__init__(config, skeleton)
        try:
            self._compute = compile_expression(config.expression, skeleton)
        except ExpressionError as error:
            raise ValueError(f"expression: {error}") from None

    def evaluate(self, person: Person, is_active: bool) -> bool | None:
        """Return the value of the expression."""
        return self._compute(person)
