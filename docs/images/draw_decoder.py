"""Draw docs/images/decoder.jpg: heatmap, PAF and poses of a synthetic scene.

Run it with the environment of the tests: `.venv/bin/python docs/images/draw_decoder.py`.
"""

from pathlib import Path

import matplotlib
import numpy as np

from edgepose import PoseEstimator, draw_poses
from edgepose.runtime.synthetic import Scene

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

KEYPOINT, LIMB_END = "right_shoulder", "right_elbow"
ZOOM_PX = 44
SAMPLES = 8


def show(axes: Axes, image: np.ndarray, title: str, center: tuple[float, float], half_px: float) -> None:
    """Show a square part of an image."""
    x, y = center
    # The center of the first pixel is (0.5, 0.5).
    axes.imshow(image[..., ::-1], extent=(0, image.shape[1], image.shape[0], 0))
    axes.set(xlim=(x - half_px, x + half_px), ylim=(y + half_px, y - half_px), xticks=[], yticks=[])
    axes.set_title(title, fontsize=12)


def main() -> None:
    """Draw the three steps side by side."""
    estimator = PoseEstimator("edgepose-small")
    image = Scene(2, 640, 480, seed=3).render_frame(0).image
    poses = estimator.estimate(image).poses
    pose, skeleton = poses[0], poses[0].skeleton
    fields = estimator.infer(image)
    heatmap = fields.heatmap_quantization.dequantize(fields.heatmaps[..., skeleton.index(KEYPOINT)])
    limb = next(one for one in skeleton.limbs if one[:2] == (skeleton.index(KEYPOINT), skeleton.index(LIMB_END)))
    u, v = (fields.paf_quantization.dequantize(fields.pafs[..., channel]) for channel in limb[2:4])
    del fields
    to_frame = estimator.compute_grid_to_frame(image)
    rows, columns = heatmap.shape
    left, top = to_frame.offset_x, to_frame.offset_y
    extent = (left, left + columns * to_frame.scale_x, top + rows * to_frame.scale_y, top)
    start, end = pose[KEYPOINT], pose[LIMB_END]
    middle = (start.x + end.x) / 2, (start.y + end.y) / 2

    figure, (first, second, third) = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained")
    show(first, image, f"1  Heatmap: peak of {KEYPOINT}", (start.x, start.y), ZOOM_PX)
    alpha = np.clip(heatmap / heatmap.max(), 0, 1) * 0.75
    first.imshow(heatmap, extent=extent, alpha=alpha, cmap="inferno", interpolation="nearest")
    row, column = int((start.y - top) / to_frame.scale_y), int((start.x - left) / to_frame.scale_x)
    cell = to_frame.scale_x * (column + 0.5) + left, to_frame.scale_y * (row + 0.5) + top
    first.plot(*cell, "o", ms=8, color="black", label="center of the highest cell")
    first.plot(start.x, start.y, "+", ms=16, mew=3, color="#0b6e63", label="maximum of the parabolas")
    first.legend(loc="lower left", fontsize=9)

    show(second, image, f"2  PAF: from {KEYPOINT} to {LIMB_END}", middle, ZOOM_PX * 1.3)
    x = to_frame.scale_x * (np.arange(columns) + 0.5) + left
    y = to_frame.scale_y * (np.arange(rows) + 0.5) + top
    length = np.hypot(u, v)
    shown = length > 0.15
    grid_x, grid_y = np.meshgrid(x, y)
    second.quiver(
        grid_x[shown], grid_y[shown], u[shown], v[shown], length[shown], cmap="inferno", angles="xy",
        scale_units="xy", scale=0.12, width=0.008, clim=(0, 1),
    )  # fmt: skip
    share = np.linspace(0, 1, SAMPLES)
    second.plot(
        start.x + share * (end.x - start.x), start.y + share * (end.y - start.y), "o-", color="#4fd1bf",
        mec="black", ms=7, label=f"{SAMPLES} samples",
    )  # fmt: skip
    second.legend(loc="lower left", fontsize=9)

    drawn = draw_poses(image, poses)
    show(third, drawn, "3  People", (320, 240), 240)
    figure.savefig(Path(__file__).with_name("decoder.jpg"), dpi=100, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
