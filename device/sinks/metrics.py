"""The loop's figures as Prometheus reads them (text format 0.0.4)."""

from __future__ import annotations

from ..monitor.stats import Snapshot


def prometheus(snapshot: Snapshot) -> str:
    """One metric a line, with its type before it."""
    lines: list[str] = []

    def add(name: str, kind: str, about: str, values: dict[str, float]) -> None:
        lines.append(f"# HELP edgepose_{name} {about}")
        lines.append(f"# TYPE edgepose_{name} {kind}")
        lines.extend(f"edgepose_{name}{labels} {value:.15g}" for labels, value in values.items())

    add("up", "gauge", "1 while frames come.", {"": float(snapshot.state == "running")})
    add("fps", "gauge", "Frames processed a second.", {"": snapshot.fps})
    add("people", "gauge", "People in the last frame.", {"": snapshot.people})
    add("latency_seconds", "gauge", "Median time from exposure to poses.", {"": snapshot.latency_ms / 1e3})
    stages = {f'{{stage="{stage}"}}': ms / 1e3 for stage, ms in snapshot.stages_ms.items()}
    add("stage_seconds", "gauge", "Median time of a stage.", stages)
    add("frames_processed_total", "counter", "Frames with poses.", {"": snapshot.processed})
    add("frames_dropped_total", "counter", "Frames that a newer one replaced.", {"": snapshot.dropped})
    add("frames_skipped_total", "counter", "Frames left out on request.", {"": snapshot.skipped})
    add("camera_losses_total", "counter", "Times the camera was lost.", {"": snapshot.camera_losses})
    add("heat_level", "gauge", "How far the loop is slowed down by heat.", {"": snapshot.level})
    if snapshot.temperature_c is not None:
        add("temperature_celsius", "gauge", "Of the processor.", {"": snapshot.temperature_c})
    flags = {f'{{flag="{flag}"}}': 1.0 for flag in snapshot.flags}
    if flags:
        add("firmware_flag", "gauge", "What the firmware complains about.", flags)
    if snapshot.memory_mb is not None:
        add("memory_bytes", "gauge", "Resident memory.", {"": snapshot.memory_mb * 1e6})
    if snapshot.disk_free_mb is not None:
        add("disk_free_bytes", "gauge", "Free space where the loop runs.", {"": snapshot.disk_free_mb * 1e6})
    for count in ("sent", "lost"):
        values = {f'{{sink="{name}"}}': float(counts[count]) for name, counts in snapshot.sinks.items()}
        if values:
            add(f"sink_{count}_total", "counter", f"Messages {count} by a sink.", values)
    return "\n".join(lines) + "\n"
