"""What the student shall say of a view: the teacher's maps, and where people are annotated, what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ...runtime import PoseEstimator
from ...runtime.types import Image
from ..ir import graph as g
from .images import Points, Sample
from .torch_graph import GraphModule
from .views import Views, truth

Maps = npt.NDArray[np.float32]

_SIGMA = 0.9
"""Of an annotated keypoint, in cells: that of the teacher's."""
_STRIDE = 8
_SURE = 0.1
"""A teacher's limb below this may be overruled by an annotated one."""


class Lesson(NamedTuple):
    """A view (3, size, size) uint8 in BGR, and maps (19 or 38, cells, cells) float32.

    The maps are the wanted ones, or, where the teacher looks at whole batches (`Oracle`), the annotated people alone.
    """

    view: Any
    heatmaps: Any
    pafs: Any


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
        heatmaps = _real(fields.heatmaps, fields.heatmap_quantization)
        pafs = _real(fields.pafs, fields.paf_quantization)
        return heatmaps, pafs


class Lessons(IterableDataset[Lesson]):
    """Endless lessons, each sample once before any comes again. Workers draw different ones."""

    def __init__(self, samples: list[Sample], teacher: Path | None, size: int, seed: int) -> None:
        """`teacher`: a `.tflite` for views of `size` pixels; None where it looks at whole batches later."""
        self._samples, self._teacher, self._size, self._seed = samples, teacher, size, seed

    def __iter__(self) -> Any:
        worker = get_worker_info()
        number, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        teacher = None if self._teacher is None else Teacher(self._teacher)
        views = Views(self._samples, self._size, self._seed * 1009 + number)
        order = np.random.default_rng(self._seed)
        while True:
            for i in order.permutation(len(self._samples))[number::count]:
                view, people = views.draw(int(i))
                yield lesson(view, people, teacher)


def lesson(view: Image, people: Points, teacher: Teacher | None) -> Lesson:
    """One view with its maps."""
    known, limbs = truth(people, view.shape[0] // _STRIDE, _STRIDE, _SIGMA)
    if teacher is not None:
        heatmaps, pafs = map(torch.from_numpy, teacher.maps(view))
        wanted = together(heatmaps, pafs, torch.from_numpy(known), torch.from_numpy(limbs), axis=-1)
        known, limbs = (maps.numpy() for maps in wanted)
    return Lesson(_planes(view), _planes(known), _planes(limbs))


def together(heatmaps: Tensor, pafs: Tensor, known: Tensor, limbs: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The teacher's maps with the annotated people in them; channels lie along `axis`.

    A keypoint is where either sees one, background where both do; the annotated limb counts where the teacher sees
    none.
    """
    last = heatmaps.shape[axis] - 1
    parts = torch.maximum(heatmaps.narrow(axis, 0, last), known.narrow(axis, 0, last))
    background = torch.minimum(heatmaps.narrow(axis, last, 1), known.narrow(axis, last, 1))
    pairs = pafs.unflatten(axis, (-1, 2))
    length = torch.linalg.vector_norm(pairs, dim=axis + 1 if axis >= 0 else axis)
    weak = (length < _SURE).repeat_interleave(2, dim=axis)
    return torch.cat((parts, background), axis), torch.where(weak & (limbs != 0), limbs, pafs)


class Oracle:
    """The teacher as a float graph on the device that trains: whole batches at once, for a GPU."""

    def __init__(self, graph: g.Graph, device: str) -> None:
        self._network, self._graph = GraphModule(graph).to(device).eval(), graph

    @torch.no_grad()
    def finish(self, batch: Lesson, view: Tensor) -> Lesson:
        """The batch with the wanted maps. `view`: (batch, 3, rows, columns), 0..255."""
        made = self._network(view, (self._graph.heatmaps, self._graph.pafs))
        wanted = together(
            made[self._graph.heatmaps].float(), made[self._graph.pafs].float(), batch.heatmaps, batch.pafs, axis=1
        )
        return Lesson(batch.view, *wanted)


def _planes(maps: Any) -> Any:
    return np.ascontiguousarray(maps.transpose(2, 0, 1))


def _real(maps: Any, quantization: Any) -> Maps:
    if maps.dtype == np.float32:
        return np.array(maps)
    return np.asarray((maps.astype(np.float32) - quantization.zero_point) * np.float32(quantization.scale))
