"""People in synthetic scenes that a network finds: the measure behind the sanity check.

Keypoints of the scenes are exact, so no image of the user and no annotation is needed. The scenes are those that the
published networks find best: one or two people who fill the image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...runtime.decode import Decoder
from ...runtime.oks import compute_oks, get_sigmas
from ...runtime.skeleton import Skeleton
from ...runtime.synthetic import Scene, SceneFrame, derive_keypoints, has_figure
from ...runtime.types import GridToFrame, Image, Pose, PoseFields

_SCENES = ((1, 5), (1, 3), (1, 8), (1, 11), (1, 6), (1, 7), (2, 5), (2, 11))
"""Number of people and seed of each scene."""
_LONGER_SIDE_PX = 640
_MIN_OKS = 0.5
_MIN_SCORE = 0.1
"""A person with a lower pose score is not found: noise reaches such scores."""
Infer = Callable[[Image], PoseFields]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SceneResult:
    """What a network found in one scene.

    Attributes:
        frame: The scene with its exact keypoints.
        heatmaps: Dequantized heatmaps, (rows, columns, channels).
        pafs: Dequantized PAFs.
        poses: All poses, of any score.
        scores: For each person of the scene, the score of the pose with OKS 0.5 or more; 0 if there is none.
    """

    frame: SceneFrame
    heatmaps: FloatArray
    pafs: FloatArray
    poses: tuple[Pose, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class SceneScore:
    """Summary over all scenes: people in them, people that were found, and their mean score (0 if not found)."""

    people: int
    found: int
    quality: float

    @property
    def share(self) -> float:
        """Share of the people that were found, 0 to 1."""
        return self.found / self.people


def compute_scene_size(width: int, height: int) -> tuple[int, int]:
    """Compute the size of a scene with the aspect ratio of a network's input; its longer side has 640 pixels."""
    scale = _LONGER_SIDE_PX / max(width, height)
    return max(32, round(width * scale)), max(32, round(height * scale))


@functools.lru_cache(maxsize=2)
def render_scenes(width: int, height: int, skeleton: Skeleton) -> tuple[SceneFrame, ...]:
    """Render the scenes in the aspect ratio of a network's input, so that people fill it.

    Args:
        width: Width of the input.
        height: Height of the input.
        skeleton: Skeleton of the keypoints in the result. Without a figure, the frames have no people to be found.
    """
    size = compute_scene_size(width, height)
    frames = (Scene(people, *size, seed=seed).render_frame(0) for people, seed in _SCENES)
    if not has_figure(skeleton):
        return tuple(replace(frame, keypoints=frame.keypoints[:0]) for frame in frames)
    return tuple(replace(frame, keypoints=derive_keypoints(frame.keypoints, skeleton)) for frame in frames)


def count_people() -> int:
    """Return the number of people in all scenes."""
    return sum(people for people, _ in _SCENES)


def run_scenes(
    scenes: Sequence[SceneFrame], infer: Infer, decoder: Decoder, to_frame: Callable[[Image], GridToFrame]
) -> list[SceneResult]:
    """Run a network on the scenes.

    Args:
        scenes: Result of `render_scenes`.
        infer: The network.
        decoder: Decoder for its maps.
        to_frame: Transform from cells of the maps to pixels of an image.

    Raises:
        ModelError: The maps contain NaN or infinity.
    """
    results = []
    for frame in scenes:
        fields = infer(frame.image)
        heatmaps = fields.heatmap_quantization.dequantize(fields.heatmaps)
        pafs = fields.paf_quantization.dequantize(fields.pafs)
        del fields  # an interpreter does not run while its maps are in use
        results.append(decode_scene(frame, heatmaps, pafs, decoder, to_frame))
    return results


def decode_scene(
    frame: SceneFrame,
    heatmaps: FloatArray,
    pafs: FloatArray,
    decoder: Decoder,
    to_frame: Callable[[Image], GridToFrame],
) -> SceneResult:
    """Decode the maps of a scene and compare the poses with its people."""
    poses = decoder.decode(PoseFields(heatmaps, pafs), to_frame(frame.image))
    sigmas = get_sigmas(decoder.skeleton)
    scores = []
    for points in frame.keypoints:
        truth = np.concatenate((points, np.ones((len(points), 1), np.float32)), axis=1)
        similar = [pose.score for pose in poses if compute_oks(truth, pose.keypoints, sigmas) >= _MIN_OKS]
        scores.append(max(similar, default=0.0))
    return SceneResult(frame, heatmaps, pafs, poses, tuple(scores))


def summarize(results: Sequence[SceneResult]) -> SceneScore:
    """Count the people that were found in all scenes."""
    scores = np.array([score for result in results for score in result.scores])
    return SceneScore(len(scores), int((scores >= _MIN_SCORE).sum()), float(scores.mean()))
