"""People who come down fast and are not seen upright again at that place, whether or not they are found on the floor.

Networks that were trained on upright people lose a falling person before the impact and do not find people on the
floor. What they show is the beginning: the shoulders sink fast, or the torso tips, and then the person is not found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...runtime.types import Pose
from .body import Body, BodyJoints, get_body
from .person import Person

_HISTORY_S = 2.5
_LOST_S = 0.35
"""A person who was not found for this time is lost."""
_UPRIGHT_ANGLE = 35.0
_MIN_UPRIGHT_S, _MIN_UPRIGHT_FRAMES = 0.4, 3
"""Somebody who was not upright before cannot fall."""
_SPEED_S, _MIN_SPEED = 0.35, 0.3
"""Speed of the shoulders at the last sight, in heights per second, measured over this time."""
_DROP_S, _MIN_DROP, _LARGE_DROP = 1.2, 0.06, 0.35
"""How far the shoulders sank before the person was lost, and how far if the person is still seen, in heights."""
_MIN_SEEN_ANGLE = 45.0
"""Angle of the torso of somebody who came down and is still seen."""
_TIP_S, _MIN_TIP, _MIN_TIPPED_ANGLE, _MIN_TIP_SPEED = 0.6, 15.0, 25.0, 0.08
"""Or the torso tipped by this many degrees before the person was lost, while the shoulders were sinking."""
_MIN_KEYPOINTS = 10
_EDGE, _MAX_Y = 0.04, 0.9
"""Who was last seen at the left or right edge or at the lower edge has left the view; shares of the frame."""
_NEAR, _RISEN_ANGLE, _MAX_SINK, _MAX_RISE, _RISEN_FRAMES = 0.7, 40.0, 0.45, 0.15, 2
"""Somebody is up again who is upright at the place, with the shoulders about where they were, in heights."""
_MIN_HEIGHT = 0.2
"""Smaller people, as a share of the frame, are too noisy."""


class _Sight(NamedTuple):
    time_s: float
    x: float
    y: float
    angle: float | None


@dataclass(slots=True, eq=False)
class _Track:
    pose: Pose
    sights: deque[_Sight] = field(default_factory=deque)
    height: float = 0.0
    was_lost: bool = False
    has_descended: bool = False


@dataclass(slots=True, eq=False)
class Descent:
    """Somebody who came down.

    Attributes:
        number: Number of the person.
        time_s: Time of the last sight while coming down.
        seen_s: When somebody was last found at the place, in any posture.
        x: Place in pixels.
        y: Height of the shoulders before, in pixels.
        height: Height of the person in pixels.
        pose: The last pose while coming down.
        id: Identifier of the reported fall; "" if none was reported.
    """

    number: int
    time_s: float
    seen_s: float
    x: float
    y: float
    height: float
    pose: Pose
    id: str = ""
    risen_frames: float = 0.0


class DescentWatcher:
    """Finds people who come down fast. `descents` are those who were not seen upright again since."""

    def __init__(self, joints: BodyJoints) -> None:
        self._joints, self._tracks = joints, dict[int, _Track]()
        self.descents: list[Descent] = []

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Descent]:
        """Take in one frame; return those who are upright again."""
        bodies = [(person, get_body(person, self._joints)) for person in people]
        for person, body in bodies:
            self._note(person, body, time_s)
        for number, track in list(self._tracks.items()):
            last = track.sights[-1]
            if time_s - last.time_s > _HISTORY_S:
                del self._tracks[number]
            elif self._descends(track, last, time_s, frame_size):
                y = min(sight.y for sight in track.sights if last.time_s - sight.time_s <= _DROP_S)
                track.has_descended = True
                self.descents.append(Descent(number, last.time_s, last.time_s, last.x, y, track.height, track.pose))
        if not self.descents:
            return []
        risen = [descent for descent in self.descents if _has_risen(descent, bodies, time_s)]
        for descent in risen:
            self.remove(descent)
        return risen

    def remove(self, descent: Descent) -> None:
        """Forget a descent."""
        self.descents.remove(descent)
        if descent.number in self._tracks:
            self._tracks[descent.number].has_descended = False

    def forget(self, people: Collection[int]) -> None:
        """Forget where people were, and descents of them that were not reported."""
        for number in people:
            self._tracks.pop(number, None)
        self.descents = [one for one in self.descents if one.id or one.number not in people]

    def rename(self, old: int, new: int) -> None:
        """Give what is remembered about a person to another number."""
        if old in self._tracks:
            self._tracks[new] = self._tracks.pop(old)

    def _note(self, person: Person, body: Body, time_s: float) -> None:
        if body.shoulder is None:
            return
        track = self._tracks.get(person.number)
        if track is None:
            track = self._tracks[person.number] = _Track(person.pose)
        track.pose = person.pose
        left, top, right, bottom = person.box
        is_upright = body.torso_angle is not None and body.torso_angle < _UPRIGHT_ANGLE
        if is_upright and body.torso is not None and body.count >= _MIN_KEYPOINTS:
            height, before = max(2.6 * body.torso, bottom - top), track.height
            track.height = 0.9 * before + 0.1 * max(height, 0.8 * before) if before else height
        sights = track.sights
        sights.append(_Sight(time_s, (left + right) / 2, body.shoulder[1], body.torso_angle))
        track.was_lost = False
        while time_s - sights[0].time_s > _HISTORY_S:
            sights.popleft()

    def _descends(self, track: _Track, last: _Sight, time_s: float, frame_size: tuple[int, int]) -> bool:
        is_lost = time_s - last.time_s >= _LOST_S
        is_first = is_lost and not track.was_lost
        track.was_lost = is_lost
        if track.has_descended or not (is_first or last.angle is None or last.angle > _MIN_SEEN_ANGLE):
            return False
        width, height = frame_size
        if track.height < _MIN_HEIGHT * height:
            return False
        if not (_EDGE * width < last.x < (1 - _EDGE) * width and last.y < _MAX_Y * height):
            return False
        if not _was_upright(track):
            return False
        recent = [sight for sight in track.sights if last.time_s - sight.time_s <= _DROP_S]
        drop = (last.y - min(sight.y for sight in recent)) / track.height
        if drop >= _LARGE_DROP and (last.angle is None or last.angle > _MIN_SEEN_ANGLE):
            return True
        if not is_first:
            return False
        first = next(sight for sight in track.sights if last.time_s - sight.time_s <= _SPEED_S)
        speed = (last.y - first.y) / track.height / max(1e-3, last.time_s - first.time_s)
        if speed >= _MIN_SPEED and drop >= _MIN_DROP:
            return True
        if last.angle is None or last.angle < _MIN_TIPPED_ANGLE or speed < _MIN_TIP_SPEED:
            return False
        angles = [sight.angle for sight in recent if sight.angle is not None and last.time_s - sight.time_s <= _TIP_S]
        return last.angle - min(angles) >= _MIN_TIP


def _has_risen(descent: Descent, bodies: Sequence[tuple[Person, Body]], time_s: float) -> bool:
    """Return True if somebody is upright at the place, no matter with which number."""
    for person, body in bodies:
        left, _, right, _ = person.box
        if abs((left + right) / 2 - descent.x) >= _NEAR * descent.height:
            continue
        descent.seen_s = time_s
        if body.shoulder is None or body.torso_angle is None or body.torso_angle > _RISEN_ANGLE:
            continue
        if (-_MAX_RISE < (body.shoulder[1] - descent.y) / descent.height < _MAX_SINK
                and body.count >= _MIN_KEYPOINTS - 1):  # fmt: skip
            descent.risen_frames += 1
            return descent.risen_frames >= _RISEN_FRAMES
    descent.risen_frames = max(0.0, descent.risen_frames - 0.25)
    return False


def _was_upright(track: _Track) -> bool:
    upright = [sight.time_s for sight in track.sights if sight.angle is not None and sight.angle < _UPRIGHT_ANGLE]
    return len(upright) >= _MIN_UPRIGHT_FRAMES and upright[-1] - upright[0] >= _MIN_UPRIGHT_S
