"""Pinhole camera that looks at synthetic people from a height, tilted down."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin, tan

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_NEAR_M = 0.1


@dataclass(frozen=True)
class PinholeCamera:
    """A camera above the origin of the floor that looks along the x axis.

    Attributes:
        height_m: Height above the floor in meters.
        pitch: Angle by which it looks down, in degrees.
        width, height: Size of the image in pixels.
        fov: Horizontal field of view in degrees. 66 is that of Raspberry Pi's Camera Module 3.
    """

    height_m: float = 2.4
    pitch: float = 20.0
    width: int = 640
    height: int = 480
    fov: float = 66.0

    def project(self, points: Vector) -> tuple[Vector, npt.NDArray[np.bool_]]:
        """Project points.

        Args:
            points: (n, 3) in meters: x away from the camera, y to its left, z up.

        Returns:
            (n, 2): x, y in pixels; and (n,): True if the point is inside the image.
        """
        pitch, focal = radians(self.pitch), self.width / 2 / tan(radians(self.fov) / 2)
        x, y, z = points[:, 0], points[:, 1], points[:, 2] - self.height_m
        depth = x * cos(pitch) - z * sin(pitch)
        up = x * sin(pitch) + z * cos(pitch)
        safe = np.maximum(depth, _NEAR_M)
        image = np.stack((self.width / 2 - focal * y / safe, self.height / 2 - focal * up / safe), axis=1)
        is_inside = (depth > _NEAR_M) & (image >= 0).all(axis=1) & (image < (self.width, self.height)).all(axis=1)
        return image, is_inside

    def aim(self, distance_m: float, target_m: float = 0.8) -> PinholeCamera:
        """Return the camera, tilted so that it looks at a height above the floor at a distance."""
        pitch = float(np.degrees(np.arctan2(self.height_m - target_m, distance_m)))
        return PinholeCamera(self.height_m, pitch, self.width, self.height, self.fov)
