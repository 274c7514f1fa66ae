"""Cached maps of a better teacher: each image at four sizes, averaged with its mirror image, computed once.

A view gets the maps of the two sizes nearest to its zoom, resampled with its zoom, rotation, shift and mirroring, and
averaged. This costs less than one inference of the teacher and is more accurate. Maps are stored with 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...runtime.averaging import MapAverager
from ...runtime.io import atomic
from ...runtime.io.images import read_image
from ...runtime.io.messages import iterate_with_progress
from ...runtime.map_inference import MapInference
from ...runtime.model import container
from ...runtime.model.resized_network import scale_resize_operators
from ...runtime.skeleton import COCO18
from .images import Sample
from .views import LONG_SIDE_PX, Transform, get_mirror_order

Maps = npt.NDArray[np.float32]

SCALES = (0.6, 0.85, 1.2, 1.7)
"""Long sides of the teacher's input, in units of 432 pixels."""
_SECOND_SCALE = 1.33
"""The second size is the one nearest to this times the zoom of the view."""
_STRIDE, _SIZE_MULTIPLE = 8, 16
_KEYPOINTS = len(COCO18.keypoints)
_CHANNELS = COCO18.heatmap_channels + COCO18.paf_channels
_HEATMAP_STEPS, _PAF_STEPS, _PAF_ZERO = 230.0, 115.0, 128
"""Steps per unit of the stored bytes. The background is stored as 1 minus its value."""


def compute_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Compute the input sizes (width, height) of the teacher for an image."""
    zooms = [LONG_SIDE_PX * scale / max(width, height) for scale in SCALES]
    return [(_round_side(width * zoom), _round_side(height * zoom)) for zoom in zooms]


def _round_side(side: float) -> int:
    return max(1, round(side / _SIZE_MULTIPLE)) * _SIZE_MULTIPLE


def cache_maps(teacher: Path, samples: Sequence[Sample], folder: Path) -> None:
    """Compute the maps of all images that are not in the folder yet, one file per image.

    Args:
        teacher: Model file with a stride of 8 and the skeleton coco18.
        samples: Training images.
        folder: Folder for the maps.
    """
    atomic.make_folder(folder)
    missing = [sample for sample in samples if not _get_path(folder, sample).is_file()]
    # Sorted by size, so that the network is rarely loaded for another size.
    sized = sorted(((read_image(sample.path).shape[1::-1], number) for number, sample in enumerate(missing)))
    loaded: dict[tuple[int, int], MapAverager] = {}
    for (width, height), number in iterate_with_progress(sized, "teacher", "image"):
        image, sizes = read_image(missing[number].path), compute_sizes(width, height)
        loaded = {size: loaded.get(size) or _load_teacher(teacher, *size) for size in sizes}
        parts = [_pack(*loaded[size].infer(image)[:2]).reshape(-1) for size in sizes]
        with atomic.replace_file(_get_path(folder, missing[number])) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate(parts))


def _get_path(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.path.stem}.npy"


def _load_teacher(path: Path, width: int, height: int) -> MapAverager:
    manifest, content = container.load(path, None)
    spec = manifest.input
    content = scale_resize_operators(content, (spec.width, spec.height), (width, height))
    spec = replace(spec, width=width, height=height, resize="stretch", dynamic=True)
    return MapAverager([MapInference(path, replace(manifest, input=spec), content, 1)], mirror=True)


def _pack(heatmaps: Any, pafs: Any) -> npt.NDArray[np.uint8]:
    heatmaps = np.array(heatmaps)
    heatmaps[..., _KEYPOINTS] = 1 - heatmaps[..., _KEYPOINTS]
    values = np.concatenate((heatmaps * _HEATMAP_STEPS, pafs * _PAF_STEPS + _PAF_ZERO), axis=-1)
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _unpack(stored: npt.NDArray[np.uint8]) -> Maps:
    values = stored.astype(np.float32)
    values[..., : _KEYPOINTS + 1] /= _HEATMAP_STEPS
    values[..., _KEYPOINTS + 1 :] = (values[..., _KEYPOINTS + 1 :] - _PAF_ZERO) / _PAF_STEPS
    return values


class CachedTeacher:
    """Maps of the teacher for views of the images in a folder that `cache_maps` filled."""

    def __init__(self, folder: Path, size: int) -> None:
        """Open the folder; `size`: width and height of a view in pixels."""
        self._folder, self._cells = folder, size // _STRIDE
        mirror = get_mirror_order()
        limbs = {(limb.a, limb.b): (limb.paf_x, limb.paf_y) for limb in COCO18.limbs}
        self._paf_order, self._paf_sign = np.arange(COCO18.paf_channels), np.ones(COCO18.paf_channels, np.float32)
        for limb in COCO18.limbs:
            a, b, own = mirror[limb.a], mirror[limb.b], [limb.paf_x, limb.paf_y]
            if (a, b) not in limbs:
                a, b = b, a
                self._paf_sign[own] = -1
            self._paf_order[own] = limbs[a, b]
        self._x = [limb.paf_x for limb in COCO18.limbs]
        self._y = [limb.paf_y for limb in COCO18.limbs]
        self._heatmap_order = [*mirror, _KEYPOINTS]

    def compute_maps(self, sample: Sample, transform: Transform) -> tuple[Maps, Maps]:
        """Compute the maps of a view.

        Args:
            sample: The image.
            transform: Position of the view in the image.

        Returns:
            Heatmaps (cells, cells, 19) and PAFs (cells, cells, 38).
        """
        stored = np.load(_get_path(self._folder, sample), mmap_mode="r", allow_pickle=False)
        width, height = transform.image_size
        sizes = compute_sizes(width, height)
        ends = np.cumsum([0, *((w // _STRIDE) * (h // _STRIDE) * _CHANNELS for w, h in sizes)])
        zoom = float(np.sqrt(abs(np.linalg.det(transform.linear))))
        chosen = _choose_scales(zoom * max(width, height) / LONG_SIDE_PX)
        total = np.zeros((self._cells, self._cells, _CHANNELS), np.float32)
        for number in chosen:
            w, h = sizes[number]
            maps = np.asarray(stored[ends[number] : ends[number + 1]]).reshape(h // _STRIDE, w // _STRIDE, _CHANNELS)
            total += self._resample(_unpack(maps), np.array((w / width, h / height)), transform)
        total /= len(chosen)
        heatmaps, pafs = total[..., : _KEYPOINTS + 1], total[..., _KEYPOINTS + 1 :]
        heatmaps = np.clip(heatmaps, 0, 1.05)
        heatmaps[..., _KEYPOINTS] = 1 - heatmaps[..., _KEYPOINTS]
        turn = (transform.linear / zoom).astype(np.float32)
        x, y = pafs[..., self._x], pafs[..., self._y]
        turned = np.empty_like(pafs)
        turned[..., self._x] = turn[0, 0] * x + turn[0, 1] * y
        turned[..., self._y] = turn[1, 0] * x + turn[1, 1] * y
        if transform.is_mirrored:
            heatmaps, turned = heatmaps[..., self._heatmap_order], turned[..., self._paf_order] * self._paf_sign
        return np.ascontiguousarray(heatmaps), np.ascontiguousarray(turned)

    def _resample(self, maps: Maps, scale: npt.NDArray[np.float64], transform: Transform) -> Maps:
        """Resample maps of the whole image; `scale`: size of the teacher's input by that of the image, (2,)."""
        # Cell u of the view is at its pixel 8 (u + 1/2), and a cell of the maps likewise in the teacher's input.
        inverse, per_cell = np.linalg.inv(transform.linear), scale[:, None] / _STRIDE
        linear = per_cell * inverse * _STRIDE
        shift = per_cell[:, 0] * (inverse @ (_STRIDE / 2 - transform.shift)) - 0.5
        matrix, size = np.concatenate((linear, shift[:, None]), axis=1), (self._cells, self._cells)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        # OpenCV warps at most four channels at once.
        parts = [
            cv2.warpAffine(np.ascontiguousarray(maps[..., i : i + 4]), matrix, size, flags=flags)
            for i in range(0, _CHANNELS, 4)
        ]
        return np.concatenate([part.reshape(self._cells, self._cells, -1) for part in parts], -1, dtype=np.float32)


def _choose_scales(zoom: float) -> list[int]:
    """Choose one or two entries of `SCALES` for the zoom of a view."""
    scales = np.log(SCALES)
    first, second = (int(np.argmin(np.abs(scales - log(zoom * factor)))) for factor in (1, _SECOND_SCALE))
    if first == second and log(zoom) > scales[first] - 0.1:
        second = min(first + 1, len(SCALES) - 1)
    return sorted({first, second})
