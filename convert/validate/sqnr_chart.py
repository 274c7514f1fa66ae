"""Chart of the signal-to-noise ratio (SQNR) along a network, as SVG text."""

from __future__ import annotations

import html
from collections.abc import Sequence

from .layer_errors import MapError

_WIDTH, _HEIGHT = 960, 490
_LEFT, _RIGHT, _TOP, _BOTTOM = 104, 950, 30, 300
_MAX_DB = 70
_STEP_DB = 10
_LABEL_SPACING_PX = 15
_LABEL_LENGTH = 32
_COLORS = ("#1565c0", "#e07b00")


def draw_chart(errors: Sequence[MapError]) -> str:
    """Draw the SQNR of every stored map in the order of the network.

    Not every map has a label: labels never overlap. The maps with the lowest SQNR are labeled first. The name and the
    values of any map appear when the pointer is on it.

    Returns:
        An `<svg>` element.
    """
    columns = [_LEFT + (_RIGHT - _LEFT) * (i + 0.5) / max(1, len(errors)) for i in range(len(errors))]
    series = [
        ("up to this map", [error.sqnr_db for error in errors]),
        ("operator alone", [error.isolated_db for error in errors]),
    ]
    parts = [_draw_axis()]
    for number, (name, values) in enumerate(series):
        color = _COLORS[number]
        points = " ".join(f"{x:.1f},{_compute_y(value):.1f}" for x, value in zip(columns, values, strict=True))
        parts.append(f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='1.6'/>")
        parts += [
            f"<circle cx='{x:.1f}' cy='{_compute_y(value):.1f}' r='2.6' fill='{color}'>"
            f"<title>{html.escape(error.name)}: {value:.1f} dB, {name}</title></circle>"
            for x, value, error in zip(columns, values, errors, strict=True)
        ]
        parts.append(f"<text x='{_LEFT + 12 + 150 * number}' y='18' fill='{color}' font-weight='600'>{name}</text>")
    parts += [_draw_label(columns[i], errors[i].name) for i in _choose_labels(columns, errors)]
    return (
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' font-family='system-ui, sans-serif' font-size='12'>"
        f"<title>signal-to-noise ratio of every map</title>{''.join(parts)}</svg>"
    )


def _draw_axis() -> str:
    lines = []
    for value in range(0, _MAX_DB + 1, _STEP_DB):
        y = _compute_y(value)
        lines.append(f"<line x1='{_LEFT}' x2='{_RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>")
        lines.append(f"<text x='{_LEFT - 6}' y='{y + 4:.1f}' text-anchor='end' fill='#555'>{value}</text>")
    return "".join(lines) + f"<text x='{_LEFT - 6}' y='18' text-anchor='end' fill='#555'>dB</text>"


def _compute_y(value_db: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * min(max(value_db, 0.0), _MAX_DB) / _MAX_DB


def _choose_labels(columns: Sequence[float], errors: Sequence[MapError]) -> list[int]:
    """Choose maps to label, those with the lowest SQNR first, so that no two labels are too close."""
    chosen: list[int] = []
    for i in sorted(range(len(errors)), key=lambda i: errors[i].isolated_db):
        if all(abs(columns[i] - columns[other]) >= _LABEL_SPACING_PX for other in chosen):
            chosen.append(i)
    return sorted(chosen)


def _draw_label(x: float, name: str) -> str:
    return (
        f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{_BOTTOM}' y2='{_BOTTOM + 5}' stroke='#888'/>"
        f"<text transform='translate({x + 4:.1f},{_BOTTOM + 12}) rotate(-60)' text-anchor='end' font-size='11' "
        f"fill='#333'>{html.escape(_shorten_name(name))}</text>"
    )


def _shorten_name(name: str) -> str:
    """Shorten a long name to the part that names the layer: without its operator, then without its first scopes."""
    if len(name) <= _LABEL_LENGTH:
        return name
    scopes = name.split("/")[:-1] or [name]
    short = "/".join(scopes)
    while len(scopes) > 1 and len(short) > _LABEL_LENGTH:
        scopes = scopes[1:]
        short = f"…/{'/'.join(scopes)}"
    return short if len(short) <= _LABEL_LENGTH else f"…{short[1 - _LABEL_LENGTH :]}"
