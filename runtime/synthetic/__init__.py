"""Synthetic scene: rendered people that move in front of a textured background, with exact keypoints.

A source of test images without a camera and without labeled images. Real networks detect its people.
"""

from .keypoints import derive_keypoints, has_figure
from .scene import Scene, SceneFrame

__all__ = ["Scene", "SceneFrame", "derive_keypoints", "has_figure"]
