"""Training targets: the maps of the teacher, corrected with the annotated people."""

from __future__ import annotations

from dataclasses import replace
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
from .cached_teacher import CachedTeacher
from .images import Keypoints, Sample
from .torch_graph import GraphModule
from .views import AUGMENTATIONS, Augmentation, ViewGenerator, draw_annotated_maps

Maps = npt.NDArray[np.float32]

_SIGMA_CELLS = 0.9
"""Standard deviation of an annotated keypoint's peak, in cells of the map; the teacher's peaks have the same."""
_STRIDE = 8
_MIN_TEACHER_PAF = 0.1
"""Where the teacher's PAF is shorter than this, an annotated limb replaces it."""


class TrainingExample(NamedTuple):
    """Training example.

    Attributes:
        view: Augmented image, uint8 BGR (3, size, size).
        heatmaps: Target heatmaps, float32 (19, cells, cells). If the teacher runs later on whole batches
            (`BatchTeacher`), they only contain the annotated people.
        pafs: Target PAFs, float32 (38, cells, cells), with the same exception.
    """

    view: Any
    heatmaps: Any
    pafs: Any


class Teacher:
    """Teacher network in a TFLite file.

    Attributes:
        size: Width and height of its input in pixels.
        stride: Pixels of the input per cell of the maps.
    """

    def __init__(self, model: Path) -> None:
        """Load a model file.

        Raises:
            ValueError: The input of the model is not square.
        """
        self._estimator = PoseEstimator(model, threads=1)
        spec = self._estimator.manifest.input
        if spec.width != spec.height:
            raise ValueError(f"{model}: expected a teacher with a square input, got {spec.width}x{spec.height}")
        self.size, self.stride = spec.width, self._estimator.manifest.stride

    def infer(self, view: Image) -> tuple[Maps, Maps]:
        """Compute heatmaps (cells, cells, 19) and PAFs (cells, cells, 38) of a view."""
        fields = self._estimator.infer(view)
        heatmaps = fields.heatmap_quantization.dequantize(fields.heatmaps)
        pafs = fields.paf_quantization.dequantize(fields.pafs)
        return heatmaps, pafs


class TrainingDataset(IterableDataset[TrainingExample]):
    """Endless dataset of training examples: every sample is used once per epoch, and each worker uses other samples."""

    def __init__(
        self, samples: list[Sample], teacher: Path | None, size: int, seed: int,
        augmentation: Augmentation = AUGMENTATIONS["strong"],
    ) -> None:  # fmt: skip
        """Create the dataset.

        Args:
            samples: Training images.
            teacher: TFLite file of the teacher, for views of `size` pixels, or a folder of `cached_teacher.cache_maps`;
                None if it runs later on whole batches.
            size: Width and height of a view in pixels.
            seed: Seed of order and augmentation.
            augmentation: Strength of the augmentation, without synthetic scenes if the maps are cached.
        """
        self._samples, self._teacher, self._size, self._seed = samples, teacher, size, seed
        self._is_cached = teacher is not None and teacher.is_dir()
        self._augmentation = replace(augmentation, synthetic_share=0.0) if self._is_cached else augmentation

    def __iter__(self) -> Any:
        worker = get_worker_info()
        number, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        teacher = None if self._teacher is None or self._is_cached else Teacher(self._teacher)
        cached = CachedTeacher(self._teacher, self._size) if self._teacher is not None and self._is_cached else None
        views = ViewGenerator(self._samples, self._size, self._seed * 1009 + number, self._augmentation)
        order = np.random.default_rng(self._seed)
        while True:
            for i in order.permutation(len(self._samples))[number::count]:
                view = views.generate(int(i))
                maps = None if teacher is None else teacher.infer(view.image)
                if cached is not None:
                    maps = cached.compute_maps(self._samples[int(i)], view.transform)
                yield make_example(view.image, view.people, maps)


def make_example(view: Image, people: Keypoints, maps: tuple[Maps, Maps] | None) -> TrainingExample:
    """Make a training example of one view.

    Args:
        view: Augmented image, uint8 BGR (size, size, 3).
        people: Annotated people (n, 18, 2), in pixels of the view, NaN for missing keypoints.
        maps: Heatmaps and PAFs of the teacher; None to use the annotated people only.
    """
    heatmaps, pafs = draw_annotated_maps(people, view.shape[0] // _STRIDE, _STRIDE, _SIGMA_CELLS)
    if maps is not None:
        teacher_heatmaps, teacher_pafs = map(torch.from_numpy, maps)
        merged = merge_targets(
            teacher_heatmaps, teacher_pafs, torch.from_numpy(heatmaps), torch.from_numpy(pafs), axis=-1
        )
        heatmaps, pafs = (maps.numpy() for maps in merged)
    return TrainingExample(_move_channels_first(view), _move_channels_first(heatmaps), _move_channels_first(pafs))


def merge_targets(
    heatmaps: Tensor, pafs: Tensor, known_heatmaps: Tensor, known_pafs: Tensor, axis: int
) -> tuple[Tensor, Tensor]:
    """Merge the maps of the teacher with those of the annotated people.

    Keypoint channels are the maximum of both, the background is the minimum. The PAF of an annotated limb is used where
    the teacher's PAF is weak.

    Args:
        heatmaps: Heatmaps of the teacher.
        pafs: PAFs of the teacher.
        known_heatmaps: Heatmaps of the annotated people.
        known_pafs: PAFs of the annotated people.
        axis: Axis of the channels.
    """
    last = heatmaps.shape[axis] - 1
    keypoints = torch.maximum(heatmaps.narrow(axis, 0, last), known_heatmaps.narrow(axis, 0, last))
    background = torch.minimum(heatmaps.narrow(axis, last, 1), known_heatmaps.narrow(axis, last, 1))
    vectors = pafs.unflatten(axis, (-1, 2))
    length = torch.linalg.vector_norm(vectors, dim=axis + 1 if axis >= 0 else axis)
    weak = (length < _MIN_TEACHER_PAF).repeat_interleave(2, dim=axis)
    return torch.cat((keypoints, background), axis), torch.where(weak & (known_pafs != 0), known_pafs, pafs)


class BatchTeacher:
    """Teacher network as a float graph on the training device, which processes whole batches; for GPUs."""

    def __init__(self, graph: g.Graph, device: str) -> None:
        self._network, self._graph = GraphModule(graph).to(device).eval(), graph

    @torch.no_grad()
    def add_teacher_maps(self, batch: TrainingExample, view: Tensor) -> TrainingExample:
        """Merge the maps of a batch with those of the teacher; `view`: (batch, 3, rows, columns), 0 to 255."""
        maps = self._network(view, (self._graph.heatmaps, self._graph.pafs))
        merged = merge_targets(
            maps[self._graph.heatmaps].float(), maps[self._graph.pafs].float(), batch.heatmaps, batch.pafs, axis=1
        )
        return TrainingExample(batch.view, *merged)


def _move_channels_first(maps: Any) -> Any:
    return np.ascontiguousarray(maps.transpose(2, 0, 1))
