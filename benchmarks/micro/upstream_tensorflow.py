"""First half of tf-pose-estimation's decoder in TensorFlow, as upstream runs it.

Source: tf_pose/estimator.py and tf_pose/tensblur/smoother.py of tf-pose-estimation. Heatmaps and PAFs are enlarged with
area interpolation, the heatmaps are smoothed by a depthwise 25x25 convolution (Gaussian, sigma 3), and 3x3 maxima are
found.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from ...convert.exporters.tensorflow_quiet import import_tensorflow
from .upstream_decoder import ENLARGE


def build_enlarge_and_find(heatmaps: npt.NDArray[np.float32], pafs: npt.NDArray[np.float32]) -> Callable[[], object]:
    """Build a function that enlarges the given maps, smooths the heatmaps and finds the maxima, in TensorFlow.

    Args:
        heatmaps: (height, width, 19) float32.
        pafs: (height, width, 38) float32.

    Raises:
        MissingExtraError: TensorFlow is not installed.
    """
    tf = import_tensorflow()
    height, width, channels = heatmaps.shape
    size = (height * ENLARGE, width * ENLARGE)
    kernel_1d = cv2.getGaussianKernel(25, 3)
    kernel = np.tile((kernel_1d @ kernel_1d.T)[:, :, None, None], (1, 1, channels, 1)).astype(np.float32)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def run(heatmaps: object, pafs: object) -> tuple[object, object, object]:
        large, large_pafs = (tf.compat.v1.image.resize_area(maps, size) for maps in (heatmaps, pafs))
        smooth = tf.nn.depthwise_conv2d(large, kernel, [1, 1, 1, 1], "SAME")
        highest = tf.nn.max_pool2d(smooth, 3, 1, "SAME")
        return tf.where(tf.equal(smooth, highest), smooth, tf.zeros_like(smooth)), large_pafs, large

    inputs = [tf.constant(maps[None]) for maps in (heatmaps, pafs)]
    return lambda: [result.numpy() for result in run(*inputs)]
