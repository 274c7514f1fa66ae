"""Comparison of a skeleton with the channels of a network's outputs."""

from __future__ import annotations

from collections.abc import Collection

from ...runtime.skeleton import Skeleton, get_skeleton, list_skeletons


def list_variants(skeleton: Skeleton) -> tuple[Skeleton, Skeleton]:
    """Return the skeleton as it is, and the same with the other choice of a background channel."""
    return skeleton, skeleton.with_background(not skeleton.background)


def list_output_channels(skeleton: Skeleton) -> set[int]:
    """Return the numbers of channels that an output of a network with this skeleton can have."""
    heatmaps = {variant.heatmap_channels for variant in list_variants(skeleton)}
    return {*heatmaps, skeleton.paf_channels, skeleton.heatmap_channels + skeleton.paf_channels}


def match_background(skeleton: Skeleton, channels: Collection[int]) -> Skeleton:
    """Return the skeleton with or without a background channel, as the network has it.

    Args:
        skeleton: The skeleton that the user chose.
        channels: The numbers of channels of all outputs.

    Returns:
        The skeleton unchanged if its channels are among `channels`, or if the other variant does not fit either.
    """
    _, other = list_variants(skeleton)
    if not {skeleton.heatmap_channels, skeleton.paf_channels} <= set(channels) and _has_outputs(other, channels):
        return other
    return skeleton


def advise(skeleton: Skeleton, channels: Collection[int]) -> str:
    """Return what to do if the outputs cannot be identified, as a sentence.

    Args:
        skeleton: The skeleton that was expected.
        channels: The numbers of channels of all outputs.
    """
    others = [other for name in list_skeletons() if (other := get_skeleton(name)).name != skeleton.name]
    exact = [s for s in others if _has_outputs(s, channels) or s.heatmap_channels + s.paf_channels in channels]
    near = [s for s in others if _has_outputs(s.with_background(not s.background), channels)]
    if names := [other.name for other in exact or near]:
        return f"They fit the skeleton {' or '.join(names)}: add --skeleton {names[0]}"
    return (
        "Name them with --heatmaps and --pafs; for other keypoints and limbs, add --skeleton FILE.toml "
        "(docs/reference/skeletons.md)"
    )


def _has_outputs(skeleton: Skeleton, channels: Collection[int]) -> bool:
    return skeleton.heatmap_channels in channels and skeleton.paf_channels in channels
