"""Named input sizes for the aspect ratios of cameras, in multiples of 16 pixels.

Multiples of 8 are enough for most networks. The MobileNetV2 networks also have features at stride 16, which are
misaligned if the size is not a multiple of 16.
"""

from __future__ import annotations

import difflib

NAMED_SIZES: dict[str, tuple[int, int]] = {
    "4:3-tiny": (192, 144), "4:3-small": (256, 192), "4:3-medium": (320, 240), "4:3-large": (448, 336),
    "16:9-tiny": (256, 144), "16:9-small": (400, 224), "16:9-medium": (512, 288), "16:9-large": (656, 368),
}  # fmt: skip
"""Width and height in pixels, by name."""


def parse(text: str) -> tuple[int, int]:
    """Parse an input size.

    Args:
        text: WIDTHxHEIGHT such as `432x368`, or a name of `NAMED_SIZES`.

    Returns:
        Width and height in pixels.

    Raises:
        ValueError: The text is neither; the message has the most similar names.
    """
    if text in NAMED_SIZES:
        return NAMED_SIZES[text]
    width, _, height = text.lower().partition("x")
    if width.isascii() and width.isdigit() and height.isascii() and height.isdigit():
        return int(width), int(height)
    close = difflib.get_close_matches(text, NAMED_SIZES, n=3, cutoff=0.5) or list(NAMED_SIZES)
    raise ValueError(f"expected WIDTHxHEIGHT such as 432x368 or a name such as {' or '.join(close)}, got {text!r}")


def format_sizes() -> str:
    """Return the named sizes as text, with one line per aspect ratio."""
    sizes_by_ratio: dict[str, list[str]] = {}
    for name, (width, height) in NAMED_SIZES.items():
        sizes_by_ratio.setdefault(name.partition("-")[0], []).append(f"{name} {width}x{height}")
    return "\n".join("  " + ", ".join(sizes) for sizes in sizes_by_ratio.values())
