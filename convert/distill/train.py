"""The training itself: lessons in, a better network out; may be interrupted at any time and goes on where it was."""

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
from .targets import Lesson, Lessons, Oracle
from .torch_graph import GraphModule

_EMPHASIS = 4.0
"""What a place with a person counts beside one without."""
_EARLIER = 1.0
"""What a stage before the last counts: each may become the last."""
_AVERAGE = 0.999
"""Of the running mean of weights that is kept as the result."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. Counted in views, so that batches may differ. `quantized`: the last share of them."""

    views: int
    batch: int = 8
    rate: float = 1e-3
    warm_up: int = 2000
    quantized: float = 0.35

    def rate_at(self, seen: int) -> float:
        """Up from nothing, then down along a cosine."""
        if seen < self.warm_up:
            return self.rate * (seen + self.batch) / (self.warm_up + self.batch)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, seen / self.views))))


class Training:
    """A student that learns; `step` by `step`."""

    def __init__(self, graph: g.Graph, schedule: Schedule, teacher: g.Graph | None = None, device: str = "cpu") -> None:
        """`teacher`: where it shall look at whole batches on the `device`; else lessons come with its maps."""
        self.device = device
        self.student = GraphModule(graph).to(device)
        self.average = GraphModule(graph).to(device)
        self._oracle = None if teacher is None else Oracle(teacher, device)
        self.schedule = schedule
        self.seen = 0
        self.losses: list[tuple[int, float]] = []
        """Views seen and the mean loss since the entry before."""
        self._stages = stages.find(graph)
        self._names = {name for stage in self._stages for name in stage}
        self._optimizer = torch.optim.AdamW(self.student.parameters(), weight_decay=1e-4)
        self._sum, self._count = 0.0, 0

    @property
    def quantized(self) -> bool:
        """Whether the last phase, with simulated integers, has begun."""
        return self.seen >= self.schedule.views * (1 - self.schedule.quantized)

    def step(self, batch: Lesson) -> float:
        """One batch; gives its loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(self.seen)
        self.student.train()
        self.student.quantize = self.average.quantize = self.quantized
        batch = Lesson(*(torch.as_tensor(part).to(self.device, non_blocking=True) for part in batch))
        view = batch.view.float().contiguous(memory_format=torch.channels_last)
        if self._oracle is not None:
            batch = self._oracle.finish(batch, view)
        # Half the time with 16 bits; but they would blur the simulated integers.
        with torch.autocast(self.device, torch.bfloat16, enabled=not self.quantized):
            made = self.student(view, self._names)
        loss = self._loss({name: maps.float() for name, maps in made.items()}, batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self._optimizer.step()
        self.seen += len(view)
        self._follow()
        value = float(loss.detach())
        self._sum, self._count = self._sum + value, self._count + 1
        return value

    def mark(self) -> float:
        """Notes the mean loss since the last mark."""
        mean = self._sum / max(1, self._count)
        self.losses.append((self.seen, mean))
        self._sum, self._count = 0.0, 0
        return mean

    def save(self, path: Path) -> None:
        """Everything that is needed to go on."""
        state = {
            "student": self.student.state_dict(), "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(), "seen": self.seen, "losses": self.losses,
        }  # fmt: skip
        with atomic.atomic(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Goes on from a checkpoint."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.seen, self.losses = state["seen"], [(int(seen), float(loss)) for seen, loss in state["losses"]]

    def begin_with(self, path: Path) -> int:
        """Takes the result of another training for all layers that both have; gives their number."""
        theirs, mine = (
            torch.load(path, weights_only=True, map_location=self.device)["average"],
            self.student.state_dict(),
        )
        same = {
            name: value
            for name, value in theirs.items()
            if name.startswith("convolutions.") and name in mine and mine[name].shape == value.shape
        }
        for network in (self.student, self.average):
            network.load_state_dict({**mine, **same})
        return sum(name.endswith(".kernel") for name in same)

    def _loss(self, made: dict[str, Tensor], batch: Lesson) -> Tensor:
        heatmaps, pafs = batch.heatmaps, batch.pafs
        somebody = torch.maximum(heatmaps[:, :-1].amax(1, keepdim=True), pafs.abs().amax(1, keepdim=True))
        weight = 1 + _EMPHASIS * somebody.clamp(0, 1)
        total = torch.zeros((), device=self.device)
        for number, stage in enumerate(self._stages):
            share = 1.0 if number == len(self._stages) - 1 else _EARLIER
            error = (weight * (made[stage.heatmaps] - heatmaps) ** 2).mean()
            error = error + (weight * (made[stage.pafs] - pafs) ** 2).mean()
            total = total + 100 * share * error
        return total

    @torch.no_grad()
    def _follow(self) -> None:
        # Short at the beginning, or the first weights would stay for long.
        keep = min(_AVERAGE, 1 - 1 / (1 + self.seen / (10 * self.schedule.batch)))
        mine, theirs = self.average.state_dict(), self.student.state_dict()
        for name, value in mine.items():
            value.lerp_(theirs[name], 1 - keep)


def train(
    training: Training, lessons: Lessons, checkpoint: Path, note: Callable[[str], None], workers: int = 1,
    seconds: float | None = None, every: int = 2000,
) -> None:  # fmt: skip
    """Until the schedule's end, or for so many seconds; a checkpoint every so many views."""
    start, begun, marked = monotonic(), training.seen, training.seen
    loader: Iterator[Any] = iter(
        DataLoader(lessons, training.schedule.batch, num_workers=workers, prefetch_factor=4 if workers else None)
    )
    while training.seen < training.schedule.views and (seconds is None or monotonic() - start < seconds):
        training.step(Lesson(*next(loader)))
        if training.seen - marked >= every:
            marked, loss = training.seen, training.mark()
            training.save(checkpoint)
            rate = (training.seen - begun) / (monotonic() - start)
            phase = ", integers" if training.quantized else ""
            note(f"{training.seen} of {training.schedule.views} views, loss {loss:.4f}, {rate:.1f} a second{phase}")
    training.save(checkpoint)


def limit_threads(count: int | None) -> None:
    """How many cores the student takes; all of them by default."""
    torch.set_num_threads(count or len(os.sched_getaffinity(0)))
