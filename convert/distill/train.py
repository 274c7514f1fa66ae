"""Training loop of the student, which can be interrupted at any time and resumed from its checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...runtime.io import atomic
from ..ir import graph as g
from ..ir import stages
from .targets import BatchTeacher, TrainingDataset, TrainingExample
from .torch_graph import GraphModule

_PERSON_WEIGHT = 4.0
"""Additional weight of a cell with a person in the loss; a cell without a person has weight 1."""


@dataclass(frozen=True)
class Schedule:
    """Length and learning rate of a training, counted in views, so that it does not depend on the batch size.

    Attributes:
        views: Number of views to train on.
        batch_size: Batch size.
        learning_rate: Highest learning rate.
        warm_up_views: Views during which the learning rate rises from 0.
        quantized_share: Share of the views, at the end, that are trained with simulated int8, 0 to 1.
        is_linear: The learning rate falls linearly to 0.02 of its highest value instead of with a cosine.
        early_stage_weight: Weight of the stages before the last in the loss. With 1, the network can be cut after any
            stage.
        average_decay: Decay of the moving average of the weights, which is the result of the training.
    """

    views: int
    batch_size: int = 8
    learning_rate: float = 1e-3
    warm_up_views: int = 2000
    quantized_share: float = 0.35
    is_linear: bool = False
    early_stage_weight: float = 1.0
    average_decay: float = 0.999

    def compute_learning_rate(self, seen: int) -> float:
        """Compute the learning rate after `views_seen` views: linear warm-up, then cosine or linear decay."""
        if seen < self.warm_up_views:
            return self.learning_rate * (seen + self.batch_size) / (self.warm_up_views + self.batch_size)
        if self.is_linear:
            done = (seen - self.warm_up_views) / max(1, self.views - self.warm_up_views)
            return self.learning_rate * max(0.02, 1 - done)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, seen / self.views))))


class Trainer:
    """Student network with its optimizer.

    Attributes:
        student: Network in training.
        average: Network with the moving average of the weights: the result.
        views_seen: Number of views so far.
        losses: Number of views and mean loss since the previous entry.
    """

    def __init__(self, graph: g.Graph, schedule: Schedule, teacher: g.Graph | None = None, device: str = "cpu") -> None:
        """Create the student.

        Args:
            graph: Folded graph of the student.
            schedule: Length and learning rate.
            teacher: Graph of a teacher that processes whole batches on `device`; None if the training examples already
                contain the teacher's maps.
            device: PyTorch device, "cpu" or "cuda".
        """
        self.device = device
        self.student = GraphModule(graph).to(device)
        self.average = GraphModule(graph).to(device)
        self._oracle = None if teacher is None else BatchTeacher(teacher, device)
        self.schedule = schedule
        self.views_seen = 0
        self.losses: list[tuple[int, float]] = []
        self._stages = stages.find(graph)
        self._names = {name for stage in self._stages for name in stage}
        self._optimizer = torch.optim.AdamW(self.student.parameters(), weight_decay=1e-4)
        self._loss_sum, self._loss_count = 0.0, 0

    @property
    def is_quantized(self) -> bool:
        """True in the last phase of the training, which simulates int8."""
        return self.views_seen >= self.schedule.views * (1 - self.schedule.quantized_share)

    def train_on_batch(self, batch: TrainingExample) -> float:
        """Train on one batch and return its loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.compute_learning_rate(self.views_seen)
        self.student.train()
        self.student.quantize = self.average.quantize = self.is_quantized
        batch = TrainingExample(*(torch.as_tensor(part).to(self.device, non_blocking=True) for part in batch))
        view = batch.view.float().contiguous(memory_format=torch.channels_last)
        if self._oracle is not None:
            batch = self._oracle.add_teacher_maps(batch, view)
        # bfloat16 takes half the time, but is too coarse for simulated int8.
        with torch.autocast(self.device, torch.bfloat16, enabled=not self.is_quantized):
            results = self.student(view, self._names)
        loss = self._compute_loss({name: maps.float() for name, maps in results.items()}, batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self._optimizer.step()
        self.views_seen += len(view)
        self._update_average()
        value = float(loss.detach())
        self._loss_sum, self._loss_count = self._loss_sum + value, self._loss_count + 1
        return value

    def record_mean_loss(self) -> float:
        """Append the mean loss since the previous call to `losses`, and return it."""
        mean = self._loss_sum / max(1, self._loss_count)
        self.losses.append((self.views_seen, mean))
        self._loss_sum, self._loss_count = 0.0, 0
        return mean

    def save_checkpoint(self, path: Path) -> None:
        """Write a checkpoint."""
        state = {
            "student": self.student.state_dict(), "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(), "seen": self.views_seen, "losses": self.losses,
        }  # fmt: skip
        with atomic.replace_file(path) as temporary:
            torch.save(state, temporary)

    def load_checkpoint(self, path: Path) -> None:
        """Load a checkpoint."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.views_seen, self.losses = state["seen"], [(int(seen), float(loss)) for seen, loss in state["losses"]]

    def load_common_weights(self, path: Path) -> int:
        """Load the result of another training into all layers that both networks have, and return their number."""
        other, own = (
            torch.load(path, weights_only=True, map_location=self.device)["average"],
            self.student.state_dict(),
        )
        common = {
            name: value
            for name, value in other.items()
            if name.startswith("convolutions.") and name in own and own[name].shape == value.shape
        }
        for network in (self.student, self.average):
            network.load_state_dict({**own, **common})
        return sum(name.endswith(".kernel") for name in common)

    def _compute_loss(self, results: dict[str, Tensor], batch: TrainingExample) -> Tensor:
        heatmaps, pafs = batch.heatmaps, batch.pafs
        presence = torch.maximum(heatmaps[:, :-1].amax(1, keepdim=True), pafs.abs().amax(1, keepdim=True))
        weight = 1 + _PERSON_WEIGHT * presence.clamp(0, 1)
        total = torch.zeros((), device=self.device)
        for number, stage in enumerate(self._stages):
            stage_weight = 1.0 if number == len(self._stages) - 1 else self.schedule.early_stage_weight
            error = (weight * (results[stage.heatmaps] - heatmaps) ** 2).mean()
            error = error + (weight * (results[stage.pafs] - pafs) ** 2).mean()
            total = total + 100 * stage_weight * error
        return total

    @torch.no_grad()
    def _update_average(self) -> None:
        # A shorter average at the beginning, so that the initial weights do not stay in it for long.
        decay = min(self.schedule.average_decay, 1 - 1 / (1 + self.views_seen / (10 * self.schedule.batch_size)))
        average, student = self.average.state_dict(), self.student.state_dict()
        for name, value in average.items():
            value.lerp_(student[name], 1 - decay)


def train(
    training: Trainer, examples: TrainingDataset, checkpoint: Path, note: Callable[[str], None], workers: int = 1,
    time_limit_s: float | None = None, checkpoint_views: int = 2000,
) -> None:  # fmt: skip
    """Train until the end of the schedule or until the time limit.

    Args:
        training: Student to train.
        examples: Training examples.
        checkpoint: Checkpoint file, written at intervals and at the end.
        note: Called with a progress message after each checkpoint.
        workers: Processes that prepare training examples.
        time_limit_s: Time limit in seconds; None for no limit.
        checkpoint_views: Views between two checkpoints.
    """
    start_s, first_view, saved_view = monotonic(), training.views_seen, training.views_seen
    loader: Iterator[Any] = iter(
        DataLoader(examples, training.schedule.batch_size, num_workers=workers, prefetch_factor=4 if workers else None)
    )
    while training.views_seen < training.schedule.views and (
        time_limit_s is None or monotonic() - start_s < time_limit_s
    ):
        training.train_on_batch(TrainingExample(*next(loader)))
        if training.views_seen - saved_view >= checkpoint_views:
            saved_view, loss = training.views_seen, training.record_mean_loss()
            training.save_checkpoint(checkpoint)
            rate = (training.views_seen - first_view) / (monotonic() - start_s)
            phase = ", simulated int8" if training.is_quantized else ""
            note(
                f"{training.views_seen} of {training.schedule.views} views, loss {loss:.4f}, {rate:.1f} views/s{phase}"
            )
    training.save_checkpoint(checkpoint)


def limit_threads(count: int | None) -> None:
    """Set the number of CPU threads of the student; None for one per core."""
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))
