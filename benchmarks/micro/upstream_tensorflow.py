"""The first half of upstream's decoding as upstream runs it: in TensorFlow, smoothing by a 2-D 25x25 convolution.

tf_pose/estimator.py and tf_pose/tensblur/smoother.py of tf-pose-estimation: area enlargement of heatmaps and PAFs,
depthwise convolution with a Gaussian of sigma 3, 3x3 maximum.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from ...convert.exporters.tensorflow_quiet import import_tensorflow
from .upstream_decoder import ENLARGE


def enlarge_and_find(heatmaps: npt.NDArray[np.float32], pafs: npt.NDArray[np.float32]) -> Callable[[], object]:
    """A call that does the work on the given maps. Raises MissingExtraError where TensorFlow is not installed."""
    tf = import_tensorflow()
    height, width, channels = heatmaps.shape
    size = (height * ENLARGE, width * ENLARGE)
    line = cv2.getGaussianKernel(25, 3)
    kernel = np.tile((line @ line.T)[:, :, None, None], (1, 1, channels, 1)).astype(np.float32)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def work(heat: object, field: object) -> tuple[object, object, object]:
        large, large_pafs = (tf.compat.v1.image.resize_area(maps, size) for maps in (heat, field))
        smooth = tf.nn.depthwise_conv2d(large, kernel, [1, 1, 1, 1], "SAME")
        highest = tf.nn.max_pool2d(smooth, 3, 1, "SAME")
        return tf.where(tf.equal(smooth, highest), smooth, tf.zeros_like(smooth)), large_pafs, large

    inputs = [tf.constant(maps[None]) for maps in (heatmaps, pafs)]
    return lambda: [result.numpy() for result in work(*inputs)]
