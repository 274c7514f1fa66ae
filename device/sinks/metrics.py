"""Statistics of the camera loop in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ...runtime.errors import MissingExtraError
from ..events.event import RuleState
from ..monitor.stats import Snapshot

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.core import CounterMetricFamily as Counter
    from prometheus_client.core import GaugeMetricFamily as Gauge


def format_metrics(
    snapshot: Snapshot, rules: Sequence[RuleState] = (), events: Mapping[tuple[str, str], int] | None = None
) -> str:
    """Format statistics for the endpoint `/metrics`.

    Args:
        snapshot: Statistics of the loop.
        rules: State of the rules.
        events: Number of events per rule and type.

    Raises:
        MissingExtraError: prometheus_client is not installed.
    """
    # Imported here: it needs 8 MB of memory, and not every page is scraped.
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise MissingExtraError("/metrics", "camera", error) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(snapshot))
    registry.register(_RulesCollector(rules, events or {}))
    return generate_latest(registry).decode()


class _SnapshotCollector:
    """Gives prometheus_client the metrics of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily as Counter
        from prometheus_client.core import GaugeMetricFamily as Gauge

        snapshot = self._snapshot
        yield Gauge("edgepose_up", "1 while the camera delivers frames.", value=float(snapshot.state == "running"))
        yield Gauge("edgepose_fps", "Frames processed per second.", value=snapshot.fps)
        yield Gauge("edgepose_people", "People in the last frame.", value=snapshot.people)
        yield Gauge("edgepose_latency_seconds", "Median time from exposure to poses.", value=snapshot.latency_ms / 1e3)
        stages = {stage: ms / 1e3 for stage, ms in snapshot.stages_ms.items()}
        yield _add_values(Gauge("edgepose_stage_seconds", "Median time of a stage.", labels=["stage"]), stages)
        yield Counter("edgepose_frames_processed", "Frames with poses.", value=snapshot.processed)
        yield Counter("edgepose_frames_dropped", "Frames replaced by newer ones.", value=snapshot.dropped)
        yield Counter("edgepose_frames_skipped", "Frames skipped by max_fps or every_nth.", value=snapshot.skipped)
        yield Counter("edgepose_camera_losses", "How often the camera was lost.", value=snapshot.camera_losses)
        yield Gauge("edgepose_heat_level", "Steps by which heat slows the loop down.", value=snapshot.level)
        if snapshot.temperature_c is not None:
            yield Gauge("edgepose_temperature_celsius", "Temperature of the processor.", value=snapshot.temperature_c)
        if snapshot.flags:
            flags = Gauge("edgepose_firmware_flag", "Warnings of the firmware.", labels=["flag"])
            yield _add_values(flags, dict.fromkeys(snapshot.flags, 1.0))
        if snapshot.memory_mb is not None:
            yield Gauge("edgepose_memory_bytes", "Resident memory.", value=snapshot.memory_mb * 1e6)
        if snapshot.disk_free_mb is not None:
            yield Gauge(
                "edgepose_disk_free_bytes", "Free disk space in the working folder.", value=snapshot.disk_free_mb * 1e6
            )
        helps = {"sent": "Messages sent by a sink.", "lost": "Messages lost by a sink.",
                 "lost_events": "Events lost by a sink."}  # fmt: skip
        for count, text in helps.items():
            values = {name: float(counts.get(count, 0)) for name, counts in snapshot.sinks.items()}
            if values:
                family = Counter(f"edgepose_sink_{count}", text, labels=["sink"])
                yield _add_values(family, values)


class _RulesCollector:
    """Gives prometheus_client the metrics of the rules."""

    def __init__(self, rules: Sequence[RuleState], events: Mapping[tuple[str, str], int]) -> None:
        self._rules, self._events = rules, events

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily as Counter
        from prometheus_client.core import GaugeMetricFamily as Gauge

        if self._rules:
            actives = {state.rule: float(state.active) for state in self._rules}
            yield _add_values(Gauge("edgepose_rule_active", "1 while a rule holds.", labels=["rule"]), actives)
            counts = Gauge("edgepose_rule_count", "What a rule counts.", labels=["rule", "count"])
            for state in self._rules:
                for name, count in state.counts.items():
                    counts.add_metric([state.rule, name], count)
            yield counts
        if self._events:
            family = Counter("edgepose_events", "Events of the rules.", labels=["rule", "type"])
            for labels, count in self._events.items():
                family.add_metric(labels, count)
            yield family


def _add_values(family: Counter | Gauge, values: Mapping[str, float]) -> Counter | Gauge:
    for key, value in values.items():
        family.add_metric([key], value)
    return family
