"""Events and rule states as short English text, for images and the command line."""

from __future__ import annotations

from .event import Event, RuleState

_SELF_EXPLAINING = ("enter", "leave")
"""Events whose name says if something began or ended."""


def describe_event(event: Event, since: str = "") -> str:
    """Describe an event in a few words, for example `lying started, person 3, in bed`; the rule is not named.

    Args:
        event: The event.
        since: Time at which it began, if that is earlier than the event.
    """
    name = event.event.replace("_", " ")
    words = [event.label if event.event == "posture" and event.label else name]
    if event.direction:
        words.append(event.direction)
    if event.state != "once" and event.event not in _SELF_EXPLAINING:
        words.append(event.state)
    if event.event == "repetition" and event.count is not None:
        words.append(str(event.count))
    parts = [" ".join(words)]
    if event.person:
        parts.append(f"person {event.person}")
    if event.zone and event.zone != event.rule:
        parts.append(f"in {event.zone}")
    if event.value is not None:
        parts.append(f"angle {event.value:.0f}")
    if since:
        parts.append(f"since {since}")
    if event.duration_s is not None:
        parts.append(f"{event.duration_s:.1f} s")
    return ", ".join(parts)


def describe_counts(state: RuleState) -> str:
    """Describe what a rule counts, for example `in 3  out 1`; the number of people in a zone has no word."""
    if list(state.counts) == ["people"]:
        return str(state.counts["people"])
    return "  ".join(f"{name} {count}" for name, count in state.counts.items())


def describe_person(state: RuleState, person: int) -> str:
    """Describe what a rule says about a person, for example `lying` or `squat 12`; "" if it says nothing.

    A label without letters, such as a number of repetitions, gets the name of the rule.
    """
    label = state.labels.get(person, "")
    if label and any(character.isalpha() for character in label):
        return label
    rule = state.rule.replace("_", " ")
    if label:
        return f"{rule} {label}"
    is_place = state.kind in ("zone", "line")
    return "" if is_place or person not in state.people else rule
