"""Test of an unpacked edgepose wheel on an emulated processor, with the NumPy of the system.

Argument: an `.npz` file with heatmaps, PAFs and the true people (written by wheels.sh on the workstation). The decoder
kernel must find these people.
"""

import sys

import numpy as np

from edgepose.runtime.decode import Decoder
from edgepose.runtime.types import GridToFrame, PoseFields, Quantization


def main() -> None:
    """Run the check; raises an exception if a person is not found."""
    painted = np.load(sys.argv[1])
    people = painted["people"]
    height, width = painted["heatmaps"].shape[:2]
    for dtype in (np.float32, np.int8):
        maps = [painted["heatmaps"], painted["pafs"]]
        quantization = Quantization()
        if dtype is np.int8:
            quantization = Quantization(1 / 64, -32)
            maps = [np.clip(np.rint(m * 64) - 32, -128, 127).astype(np.int8) for m in maps]
        fields = PoseFields(maps[0], maps[1], quantization, quantization)
        found = Decoder(height, width).decode(fields, GridToFrame(1, 1))
        assert len(found) == len(people), f"{len(found)} people of {len(people)}"
        for person in people:
            nearest = min(float(np.abs(pose.keypoints[:, :2] - 0.5 - person).max()) for pose in found)
            assert nearest < 0.35, f"{nearest} cells off"
        print(f"{np.dtype(dtype).name}: {len(found)} people found")


main()
