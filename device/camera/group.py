"""Several cameras in one process: one camera loop per camera, each in its own thread, with shared sinks.

Ownership: each loop is used as if it were alone in the process. It has its own source, pipeline, network, tracker,
statistics and sinks. The thread of `CameraGroup.run` owns the threads of the loops, the shared sinks, the messages to
systemd and the status file. The loops only call `Sink.send` of the shared sinks.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from ...runtime.errors import EdgePoseError
from ..monitor.stats import Snapshot, Stats
from ..monitor.status_file import StatusFile
from ..monitor.systemd import SystemdNotifier
from ..sinks.base import Sink, stop_all
from .loop import CameraStuckError, Loop

_POLL_S = 0.1
_ALIVE_TIMEOUT_S = 5.0
"""A loop that was not alive for this time counts as stuck: systemd gets no more messages and restarts the service."""
_LEAVE_TIMEOUT_S = 0.6
"""When the group stops, it waits this long for the last messages of the loops."""
_SINKS_STOP_TIMEOUT_S = 0.9
_STATES = ("camera lost", "starting", "running", "paused", "stopping")
"""States of a loop, the one to report first."""


class Pulse(SystemdNotifier):
    """Notifier of one loop of a group: remembers when the loop was alive. The group tells systemd."""

    def __init__(self) -> None:
        """Begin as alive."""
        super().__init__({})
        self.alive_s = monotonic()
        """Written by the thread of the loop, read by the group."""

    def notify_alive(self) -> None:
        """Remember that the loop is alive."""
        self.alive_s = monotonic()


@dataclass(frozen=True)
class GroupMember:
    """One camera of a group."""

    name: str
    loop: Loop
    stats: Stats
    pulse: Pulse


class CameraGroup:
    """Camera loops that run at the same time until `stop` is called, or all sources have ended.

    If a loop fails, all loops are stopped, as with a single camera: systemd starts the process again. A lost camera is
    no failure: its loop opens it again, and the others are not affected.
    """

    def __init__(
        self,
        members: Sequence[GroupMember],
        shared_sinks: Sequence[Sink] = (),
        notifier: SystemdNotifier | None = None,
        status: StatusFile | None = None,
    ) -> None:
        """Create the group without starting it.

        Args:
            members: The cameras. Their loops send to `shared_sinks` and have no status file.
            shared_sinks: Sinks that get the messages of all cameras, not started.
            notifier: Messages to systemd; default: none are sent.
            status: Status file; default: none is written.
        """
        self.members, self._shared_sinks = members, shared_sinks
        self._notifier, self._status = notifier or SystemdNotifier({}), status or StatusFile("")
        self._stuck_sinks: list[threading.Thread] = []
        self._threads: list[threading.Thread] = []
        self._errors: dict[str, BaseException] = {}
        """Error of each loop that has failed; each loop's thread writes its own entry."""

    def stop(self) -> None:
        """Ask all loops to stop soon. May be called from another thread."""
        for member in self.members:
            member.loop.stop()

    def list_remaining_threads(self) -> list[threading.Thread]:
        """Return the threads that are still inside a driver, a network, a sink or a loop."""
        inner = [thread for member in self.members for thread in member.loop.list_remaining_threads()]
        return [*inner, *(thread for thread in (*self._threads, *self._stuck_sinks) if thread.is_alive())]

    @property
    def unreadable_count(self) -> int:
        """Number of images and videos of all cameras that could not be read to their end."""
        return sum(member.loop.unreadable_count for member in self.members)

    def run(self, seconds: float | None = None) -> None:
        """Run until all loops have ended.

        Args:
            seconds: Maximum run time in seconds; default: no limit.

        Raises:
            EdgePoseError: A loop or a shared sink has failed; the message names the camera.
        """
        started: list[Sink] = []
        try:
            for sink in self._shared_sinks:
                sink.start()
                started.append(sink)
            self._threads = [
                threading.Thread(
                    target=self._run_loop, args=(member, seconds), name=f"edgepose-loop-{member.name}", daemon=True
                )
                for member in self.members
            ]
            for thread in self._threads:
                thread.start()
            self._wait()
        finally:
            self.stop()
            self._notifier.notify_stopping()
            self._wait_for_last_messages()
            self._stuck_sinks = [sink.thread for sink in stop_all(started, _SINKS_STOP_TIMEOUT_S)]
            self._join()
        self._raise_error()

    def _run_loop(self, member: GroupMember, seconds: float | None) -> None:
        try:
            member.loop.run(seconds)
        except BaseException as error:
            self._errors[member.name] = error

    def _wait(self) -> None:
        """Report the state of the group until all loops have ended or one has failed."""
        is_ready = False
        stats = GroupStats(self.members)
        while not self._errors and any(thread.is_alive() for thread in self._threads):
            if not is_ready and all(member.stats.processed for member in self.members):
                is_ready = True
                self._notifier.notify_ready()
            if self._are_alive():
                self._notifier.notify_alive()
            self._status.update(stats)
            for thread in self._threads:
                thread.join(_POLL_S / len(self._threads))

    def _are_alive(self) -> bool:
        oldest_s = monotonic() - _ALIVE_TIMEOUT_S
        return all(
            member.pulse.alive_s > oldest_s
            for member, thread in zip(self.members, self._threads, strict=True)
            if thread.is_alive()
        )

    def _wait_for_last_messages(self) -> None:
        """Wait until no loop sends to the shared sinks any more."""
        end_s = monotonic() + _LEAVE_TIMEOUT_S
        for member, thread in zip(self.members, self._threads, strict=False):
            while thread.is_alive() and member.stats.state != "stopping" and (left_s := end_s - monotonic()) > 0:
                thread.join(min(0.02, left_s))

    def _join(self) -> None:
        """Wait for the loops, which stop their own sinks meanwhile."""
        end_s = monotonic() + _LEAVE_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, end_s - monotonic()))

    def _raise_error(self) -> None:
        for name, error in self._errors.items():
            if isinstance(error, CameraStuckError):
                raise CameraStuckError(f"{name}: {error}") from error
            if isinstance(error, EdgePoseError):
                raise EdgePoseError(f"{name}: {error}") from error
            raise error


class GroupStats:
    """Statistics of all cameras as one snapshot, for the status file: counts are sums, times are the largest."""

    def __init__(self, members: Sequence[GroupMember]) -> None:
        self._members = members

    def take_snapshot(self) -> Snapshot:
        """Return the current state of the group."""
        snapshots = {member.name: member.stats.take_snapshot() for member in self._members}
        all_of = list(snapshots.values())
        first = all_of[0]
        slowest = max(all_of, key=lambda snapshot: snapshot.latency_ms)
        seen = [snapshot.last_person for snapshot in all_of if snapshot.last_person is not None]
        return Snapshot(
            time=first.time,
            uptime_s=first.uptime_s,
            state=min((snapshot.state for snapshot in all_of), key=_STATES.index),
            problem="; ".join(f"{name}: {one.problem}" for name, one in snapshots.items() if one.problem),
            model=first.model,
            fps=sum(snapshot.fps for snapshot in all_of),
            latency_ms=slowest.latency_ms,
            stages_ms=slowest.stages_ms,
            people=sum(snapshot.people for snapshot in all_of),
            last_person=max(seen) if seen else None,
            processed=sum(snapshot.processed for snapshot in all_of),
            dropped=sum(snapshot.dropped for snapshot in all_of),
            skipped=sum(snapshot.skipped for snapshot in all_of),
            camera_losses=sum(snapshot.camera_losses for snapshot in all_of),
            level=max(snapshot.level for snapshot in all_of),
            temperature_c=first.temperature_c,
            flags=first.flags,
            memory_mb=first.memory_mb,
            disk_free_mb=first.disk_free_mb,
            sinks={f"{name}-{sink}": counts for name, one in snapshots.items() for sink, counts in one.sinks.items()},
            camera="; ".join(f"{name}: {one.camera}" for name, one in snapshots.items() if one.camera),
        )
