"""A synthetic scene: clothed, shaded people that move before a textured background, with exact ground truth.

Test source where no camera and no labeled image is at hand. Real networks find its people.
"""

from .scene import Scene, SceneFrame

__all__ = ["Scene", "SceneFrame"]
