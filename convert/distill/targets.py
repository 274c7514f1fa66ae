"""What the student shall say of a view: the teacher's maps, and where people are annotated, what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import IterableDataset, get_worker_info

from edgepose.runtime import PoseEstimator
from edgepose.runtime.types import Image

from .pictures import Points, Sample
from .views import Views, truth

Maps = npt.NDArray[np.float32]

_SIGMA = 0.9
"""Of an annotated keypoint, in cells: that of the teacher's."""
_SURE = 0.1
"""A teacher's limb below this may be overruled by an annotated one."""


class Lesson(NamedTuple):
    """A view (3, size, size) uint8 in BGR and the wanted maps (19 or 38, cells, cells) float32."""

    view: npt.NDArray[np.uint8]
    heatmaps: Maps
    pafs: Maps


class Teacher:
    """A strong model as a `.tflite` that takes views of `size` pixels."""

    def __init__(self, model: Path) -> None:
        self._estimator = PoseEstimator(model, threads=1)
        spec = self._estimator.manifest.input
        if spec.width != spec.height:
            raise ValueError(f"{model}: expected a teacher with a square input, got {spec.width}x{spec.height}")
        self.size, self.stride = spec.width, self._estimator.manifest.stride

    def maps(self, view: Image) -> tuple[Maps, Maps]:
        """Heatmaps (cells, cells, 19) and PAFs (cells, cells, 38)."""
        fields = self._estimator.infer(view)
        heatmaps = _real(fields.heatmaps, fields.heatmap_quantisation)
        pafs = _real(fields.pafs, fields.paf_quantisation)
        return heatmaps, pafs


class Lessons(IterableDataset[Lesson]):
    """Endless lessons, each sample once before any comes again. Workers draw different ones."""

    def __init__(self, samples: list[Sample], teacher: Path, seed: int) -> None:
        self._samples, self._teacher, self._seed = samples, teacher, seed

    def __iter__(self) -> Any:
        worker = get_worker_info()
        number, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        teacher = Teacher(self._teacher)
        views = Views(self._samples, teacher.size, self._seed * 1009 + number)
        order = np.random.default_rng(self._seed)
        while True:
            for i in order.permutation(len(self._samples))[number::count]:
                view, people = views.draw(int(i))
                yield lesson(view, people, teacher)


def lesson(view: Image, people: Points, teacher: Teacher) -> Lesson:
    """One view with its maps."""
    heatmaps, pafs = teacher.maps(view)
    if len(people):
        known, limbs = truth(people, heatmaps.shape[0], teacher.stride, _SIGMA)
        heatmaps[:, :, :-1] = np.maximum(heatmaps[:, :, :-1], known[:, :, :-1])
        heatmaps[:, :, -1] = np.minimum(heatmaps[:, :, -1], known[:, :, -1])
        weak = np.repeat(np.hypot(pafs[:, :, ::2], pafs[:, :, 1::2]) < _SURE, 2, axis=2)
        pafs = np.where(weak & (limbs != 0), limbs, pafs)
    return Lesson(_planes(view), _planes(heatmaps), _planes(pafs))


def _planes(maps: Any) -> Any:
    return np.ascontiguousarray(maps.transpose(2, 0, 1))


def _real(maps: Any, quantisation: Any) -> Maps:
    if maps.dtype == np.float32:
        return np.array(maps)
    return np.asarray((maps.astype(np.float32) - quantisation.zero_point) * np.float32(quantisation.scale))
