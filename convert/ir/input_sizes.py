"""Input sizes by name: those that a camera's images fill, in multiples of 16 pixels.

Eight would do for most networks; those of MobileNetV2 also have features at stride 16, which do not line up otherwise.
"""

from __future__ import annotations

import difflib

SIZES: dict[str, tuple[int, int]] = {
    "4:3-tiny": (192, 144), "4:3-small": (256, 192), "4:3-medium": (320, 240), "4:3-large": (448, 336),
    "16:9-tiny": (256, 144), "16:9-small": (400, 224), "16:9-medium": (512, 288), "16:9-large": (656, 368),
}  # fmt: skip
"""Width and height."""


def parse(text: str) -> tuple[int, int]:
    """Width and height of `432x368` or of a size by name. Raises ValueError with the nearest names."""
    if text in SIZES:
        return SIZES[text]
    width, _, height = text.lower().partition("x")
    if width.isascii() and width.isdigit() and height.isascii() and height.isdigit():
        return int(width), int(height)
    close = difflib.get_close_matches(text, SIZES, n=3, cutoff=0.5) or list(SIZES)
    raise ValueError(f"expected WIDTHxHEIGHT such as 432x368 or a name such as {' or '.join(close)}, got {text!r}")


def listing() -> str:
    """The sizes by name, a line a shape of image."""
    shapes: dict[str, list[str]] = {}
    for name, (width, height) in SIZES.items():
        shapes.setdefault(name.partition("-")[0], []).append(f"{name} {width}x{height}")
    return "\n".join("  " + ", ".join(names) for names in shapes.values())
