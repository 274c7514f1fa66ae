"""Verdict about a conversion: may the model be used, why or why not, and what to do.

The limits were chosen on measured conversions (docs/explanation/quantization.md): every conversion that loses at most
one point of AP passes, and every broken one fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...runtime.model.manifest import Accuracy, Precision, Verification
from .sanity import SanityResult

MAX_AP_LOSS = 0.010
"""Largest loss of COCO AP, if there are annotations. Decides alone then."""

MIN_POSE_AP: dict[Precision, float] = {
    "float32": 0.99, "float16": 0.96, "dynamic": 0.76, "int8": 0.76, "int16x8": 0.76, "auto": 0.76, "unknown": 0.99,
}  # fmt: skip
"""Smallest agreement with the poses of the source (see `agreement`), without annotations. `unknown` is a TFLite file
that was not changed."""

MIN_POSE_AP_OF_FEW = 0.5
"""The same for a precision with rounding if there are few people: one lost person then changes the AP by much."""

_MIN_SOURCE_AP = 0.02
"""A source with a lower AP finds no people in the annotated images."""
_CONVINCING_AP = 0.1
"""With a higher AP on annotated images, a model that finds no people in the synthetic scenes is not broken."""
_MIN_IMAGES = 20
_MIN_WEIGHT = 5.0
"""Smallest sum of the scores of the source's poses: about ten clear people."""
_MIN_EVIDENCE = 0.3
"""Smallest sum of the scores: less is a single weak pose, which may be wrong."""
_FEW_CALIBRATION_IMAGES = 50
_INTEGERS: tuple[Precision, ...] = ("int8", "int16x8", "auto")


@dataclass(frozen=True)
class Evidence:
    """What is known about a conversion.

    Attributes:
        precision: Precision of the model.
        sanity: Result on the synthetic scenes.
        verification: Comparison with the source, None if there were no images.
        accuracy: AP of the model, None without annotations.
        has_own_images: True if the images of the verification are not those of the calibration.
        calibration_images: Number of calibration images; None for float precisions.
        untrained: True if the weights are random.
    """

    precision: Precision
    sanity: SanityResult
    verification: Verification | None = None
    accuracy: Accuracy | None = None
    has_own_images: bool = True
    calibration_images: int | None = None
    untrained: bool = False


@dataclass(frozen=True)
class Verdict:
    """Verdict about a conversion.

    Attributes:
        ok: False if the model should not be used as it is.
        reason: What the verdict is based on, one sentence.
        doubts: Why a positive verdict is weak, one sentence each. With `--strict`, a doubt makes the verdict negative.
        advice: What to do, one sentence each.
    """

    ok: bool
    reason: str
    doubts: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    def is_accepted(self, *, strict: bool) -> bool:
        """Return True if the verdict is positive, and, if `strict`, without doubts."""
        return self.ok and not (strict and self.doubts)

    def format_lines(self, *, strict: bool = False) -> Iterator[str]:
        """Format the verdict, one line per fact; with `strict`, also why a positive verdict is not accepted."""
        yield f"verdict: {'passed' if self.ok else 'failed'}: {self.reason}"
        yield from (f"doubt: {doubt}" for doubt in self.doubts)
        yield from (f"advice: {advice}" for advice in self.advice)
        if self.ok and not self.is_accepted(strict=strict):
            yield "strict: not accepted, because of the doubts; the exit code is 1"


def judge(evidence: Evidence) -> Verdict:
    """Judge a conversion.

    A wrong result on the synthetic scenes is negative, whatever the comparison says: the source may have the same
    fault. Then the AP on annotated images decides, or the agreement with the source. A comparison in which the source
    found no people proves nothing, and is negative.
    """
    if evidence.untrained:
        return Verdict(True, "random weights: only for speed measurements", (evidence.sanity.text,))
    if evidence.sanity.status == "failed" and not _is_overruled(evidence):
        return _judge_failed_check(evidence.sanity)
    if evidence.verification is None:
        return _judge_alone(evidence.sanity)
    compared = _compare_ap(evidence) or _compare_poses(evidence)
    doubts = (*compared.doubts, *_list_doubts(evidence))
    advice = compared.advice if compared.ok else (*compared.advice, *_advise(evidence))
    return Verdict(compared.ok, compared.reason, doubts, advice)


def _is_overruled(evidence: Evidence) -> bool:
    """Return True if the model has a good AP, and nothing explains why it finds no people in synthetic scenes."""
    return evidence.accuracy is not None and evidence.accuracy.ap >= _CONVINCING_AP and not evidence.sanity.causes


def _judge_failed_check(sanity: SanityResult) -> Verdict:
    causes = " and ".join(cause.text for cause in sanity.causes)
    advice = tuple(dict.fromkeys(cause.advice for cause in sanity.causes))
    if not causes:
        causes = "unknown; the weights may be untrained, damaged, or trained on other images"
        advice = (
            "check the outputs and the input of the network; for images of your own, add --verify and --annotations",
        )
    return Verdict(False, f"{sanity.text}; likely cause: {causes}", (), advice)


def _judge_alone(sanity: SanityResult) -> Verdict:
    doubt = "not compared with the source"
    advice = ("give --verify DIR with images of people to compare with the source",)
    if sanity.status == "passed":
        return Verdict(True, sanity.text, (doubt,), advice)
    return Verdict(True, "converted, but nothing was checked", (doubt, sanity.text), advice)


def _compare_ap(evidence: Evidence) -> Verdict | None:
    """Judge by the loss of AP; None without annotations."""
    verification, accuracy = evidence.verification, evidence.accuracy
    if accuracy is None or verification is None or verification.source_ap is None:
        return None
    if verification.source_ap < _MIN_SOURCE_AP:
        return Verdict(
            False,
            f"no evidence: the source has AP {verification.source_ap:.3f} on the annotated images",
            advice=("check that --annotations belongs to --verify, and that the source finds people",),
        )
    loss = verification.source_ap - accuracy.ap
    change = f"loses {100 * loss:.2f} points" if loss >= 0 else f"gains {-100 * loss:.2f} points"
    reason = (
        f"AP {accuracy.ap:.3f}, source {verification.source_ap:.3f} on {accuracy.images} images: {change}; "
        f"a loss of {100 * MAX_AP_LOSS:.2f} is allowed"
    )
    few = (f"only {accuracy.images} annotated images",) if accuracy.images < _MIN_IMAGES else ()
    return Verdict(loss <= MAX_AP_LOSS, reason, few)


def _compare_poses(evidence: Evidence) -> Verdict:
    """Judge by the agreement with the poses of the source."""
    verification = evidence.verification
    assert verification is not None
    if verification.pose_ap is None or (verification.pose_weight or 0.0) < _MIN_EVIDENCE:
        return Verdict(
            False,
            f"no evidence: the source finds nobody clearly in {verification.images} images",
            advice=("give --verify DIR with images that show people",),
        )
    is_little = (verification.pose_weight or 0.0) < _MIN_WEIGHT
    needed = MIN_POSE_AP[evidence.precision]
    if is_little and needed < MIN_POSE_AP["float16"]:
        needed = MIN_POSE_AP_OF_FEW
    reason = (
        f"agreement with the poses of the source {verification.pose_ap:.3f} (AP) on {verification.images} images; "
        f"{evidence.precision} needs {needed:.2f}"
    )
    doubts = []
    if not evidence.has_own_images:
        doubts.append("compared on the calibration images, which the weights were fitted to; give --verify DIR")
    if verification.images < _MIN_IMAGES or is_little:
        doubts.append(f"weak evidence: {verification.people} people in {verification.images} images")
    return Verdict(verification.pose_ap >= needed, reason, tuple(doubts))


def _list_doubts(evidence: Evidence) -> Iterator[str]:
    if evidence.sanity.status == "failed":
        yield f"{evidence.sanity.text}, although the AP is good"
    elif evidence.sanity.status == "not checked":
        yield evidence.sanity.text


def _advise(evidence: Evidence) -> Iterator[str]:
    """List what can make the model better."""
    precision, used = evidence.precision, evidence.calibration_images
    if precision in _INTEGERS and used is not None and used < _FEW_CALIBRATION_IMAGES:
        yield f"use about {_FEW_CALIBRATION_IMAGES} calibration images with people (now {used})"
    if precision == "int8":
        yield "--precision auto --max-drop 0.5 keeps the layers that lose most in float"
        yield "--precision int16x8 has 16-bit activations"
    elif precision == "auto":
        yield "a smaller --max-drop keeps more layers in float"
    elif precision in ("dynamic", "int16x8"):
        yield "--precision float16 has half the size of float32 and loses almost nothing"
    elif precision == "float16":
        yield "--precision float32 loses nothing"
    else:
        yield "the conversion itself changed the network; please report this with the source"
    if precision in _INTEGERS:
        yield "--report shows which layers lose most"
