"""Precision and recall of the rules about bodies, on synthetic people with exact truth.

    python -m edgepose.benchmarks.micro.events [--seeds 2] [--first-seed 100] [--idle-minutes 30]
    python -m edgepose.benchmarks.micro.events --model edgepose-small

People act in front of cameras at several heights and distances, seen from all sides. Their keypoints, with noise and
some of them missing, go through the tracker and the smoothing to the rules, as in the camera loop.

What is not in the main rows: people who lie along the view have rows of their own. Push-ups are scored from the side,
with a camera below 2 m; crossed arms within 50 degrees of the front. Squats are not scored in scripts in which somebody
stands up from a chair or the floor. A posture event is wrong if another posture holds for most of it; changes are not
scored.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...device.events.angle import AngleConfig
from ...device.events.config import EventsConfig
from ...device.events.engine import EventEngine
from ...device.events.event import Event
from ...device.events.fall import FallConfig
from ...device.events.gesture import GestureConfig
from ...device.events.posture import PostureConfig
from ...device.events.repetitions import RepetitionsConfig
from ...device.tracking.one_euro import OneEuroSmoother
from ...device.tracking.tracker import Tracker
from ...runtime import PoseEstimator
from ...runtime.synthetic import paint
from ...runtime.synthetic.actions import Actor, Interval, observe
from ...runtime.synthetic.drawing import draw_actor
from ...runtime.synthetic.figure import Appearance
from ...runtime.synthetic.pinhole import PinholeCamera
from ...runtime.types import Pose

CAMERA_HEIGHTS_M = (1.2, 1.9, 2.6)
DISTANCES_M = (3.0, 4.5, 7.0)
NOISE_PX = 2.0
FPS = 12.0
MIN_SCORED_S = 2.0
"""Postures that last shorter are not scored."""
POSTURES = ("standing", "sitting", "crouching", "lying")
EXERCISES = ("squat", "push_up", "curl")

CONFIG = EventsConfig(
    posture=(PostureConfig(name="posture"),),
    fall=(FallConfig(name="fall"),),
    gesture=(
        GestureConfig(name="hand_raised", gesture="hand_raised"),
        GestureConfig(name="arms_crossed", gesture="arms_crossed"),
    ),
    angle=(AngleConfig(name="angle", keypoints=("hip", "knee", "ankle"), below=100.0),),
    repetitions=tuple(RepetitionsConfig(name=name, preset=name) for name in EXERCISES),  # type: ignore[arg-type]
)


@dataclass(frozen=True)
class Setup:
    """How people are seen.

    Attributes:
        camera_m: Height of the camera in meters.
        distance_m: Distance of the person.
        heading: Direction in which the person faces in degrees; 180 looks at the camera.
        missing: Share of keypoints that are missing in each frame.
        seed: Seed of the person, the script and the noise.
    """

    camera_m: float
    distance_m: float
    heading: float
    missing: float
    seed: int


@dataclass
class Score:
    """Number of events that are right, wrong and missing."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        """Share of the events that are right."""
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the truth that was found."""
        return self.right / max(1, self.right + self.missed)


def _fall(direction: str) -> Callable[[Actor], None]:
    def act(actor: Actor) -> None:
        actor.stand(2.5)
        actor.fall(direction, 6)  # type: ignore[arg-type]
        actor.get_up()
        actor.stand(3)

    return act


def _walk_and_fall(actor: Actor) -> None:
    x, y = actor.position
    actor.walk_to((x, y + 0.8))
    actor.walk_to((x, y - 0.2))
    actor.fall("forward", 6)
    actor.get_up()
    actor.stand(3)


def _act(*steps: tuple[str, object]) -> Callable[[Actor], None]:
    """Return a script: stand, then the steps, each followed by standing up."""

    def act(actor: Actor) -> None:
        actor.stand(2.5)
        for name, argument in steps:
            if name == "curl":
                actor.curl(5, argument)  # type: ignore[arg-type]
            elif name == "floor":
                actor.lie_down(float(str(argument)), bed=False)
            elif name == "raise":
                actor.raise_hand(3, argument)  # type: ignore[arg-type]
            else:
                getattr(actor, name)(argument)
        if any(name in ("lie_down", "floor", "sit_down", "crouch", "kneel", "bend") for name, _ in steps):
            actor.get_up()
        actor.stand(3)

    return act


SCRIPTS: dict[str, Callable[[Actor], None]] = {
    **{f"fall {way}": _fall(way) for way in ("forward", "backward", "left", "right", "collapse")},
    "walk and fall": _walk_and_fall,
    "lie down on a bed": _act(("lie_down", 6)),
    "lie down on the floor": _act(("floor", 6)),
    "sit": _act(("sit_down", 6)),
    "crouch": _act(("crouch", 5)),
    "kneel": _act(("kneel", 5)),
    "bend": _act(("bend", 4)),
    "squats": _act(("squat", 5)),
    "push-ups": _act(("push_up", 5)),
    "curls right": _act(("curl", "right")),
    "curls left": _act(("curl", "left")),
    "curls both": _act(("curl", "both")),
    "raise right": _act(("raise", "right"), ("stand", 3), ("raise", "both")),
    "raise left": _act(("raise", "left"), ("stand", 3), ("sit_down", 2), ("raise", "left")),
    "cross arms": _act(("cross_arms", 4), ("stand", 2), ("cross_arms", 4)),
    "talk": _act(("talk", 15)),
}


def list_setups(missing: float, seeds: Iterable[int]) -> list[Setup]:
    """Return all setups: camera heights, distances, and eight directions that differ a little with the seed."""
    return [
        Setup(camera, distance, 45.0 * step + 15 * (seed % 3), missing, 1000 * seed + 8 * i + step)
        for seed in seeds
        for i, (camera, distance) in enumerate((a, b) for a in CAMERA_HEIGHTS_M for b in DISTANCES_M)
        for step in range(8)
    ]


def play(actors: Sequence[Actor], setup: Setup, config: EventsConfig = CONFIG, fps: float = FPS) -> list[Event]:
    """Show people to the rules; return the events."""
    rng = np.random.default_rng(setup.seed + 77)
    camera = PinholeCamera(setup.camera_m).aim(setup.distance_m)
    engine, tracker, smoother = EventEngine(config), Tracker(), OneEuroSmoother()
    events: list[Event] = []
    for index in range(int(max(actor.end_s for actor in actors) * fps)):
        time_s = index / fps
        poses = []
        for actor in actors:
            keypoints = observe(actor, camera, time_s, rng, NOISE_PX, setup.missing)
            if (keypoints[:, 2] > 0).sum() >= 3:
                poses.append(Pose(keypoints, 0.8))
        tracked = smoother.update(tracker.update(poses, time_s), time_s)
        events += engine.update(tracked, time_s, (camera.width, camera.height))
    return events + list(engine.finish())


def play_rendered(actor: Actor, setup: Setup, estimator: PoseEstimator, config: EventsConfig = CONFIG) -> list[Event]:
    """Draw a person, find the poses with a network, and show them to the rules; return the events."""
    rng = np.random.default_rng(setup.seed + 78)
    camera = PinholeCamera(setup.camera_m).aim(setup.distance_m)
    engine, tracker, smoother = EventEngine(config), Tracker(), OneEuroSmoother()
    background, look = paint.create_texture(camera.height, camera.width, rng), Appearance.create_random(rng)
    events: list[Event] = []
    for index in range(int(actor.end_s * FPS)):
        canvas = background.copy()
        draw_actor(canvas, camera.project(actor.get_points(index / FPS)[0])[0], look)
        poses = estimator.estimate(cv2.GaussianBlur(canvas, (3, 3), 0.6)).poses
        tracked = smoother.update(tracker.update(poses, index / FPS), index / FPS)
        events += engine.update(tracked, index / FPS, (camera.width, camera.height))
    return events + list(engine.finish())


def make_actor(script: Callable[[Actor], None], setup: Setup) -> Actor:
    """Return a person with a script."""
    actor = Actor(np.random.default_rng(setup.seed), (setup.distance_m, 0.0), setup.heading)
    script(actor)
    return actor


def score_script(name: str, setup: Setup, scores: dict[str, Score], estimator: PoseEstimator | None = None) -> None:
    """Play a script, and add what the rules found to the scores; with an estimator the people are drawn."""
    actor = make_actor(SCRIPTS[name], setup)
    events = play([actor], setup) if estimator is None else play_rendered(actor, setup, estimator)
    truth = actor.truth
    for rule in ("fall", "hand_raised", "arms_crossed"):
        if rule == "arms_crossed" and not is_facing(setup.heading):
            continue
        expected = [one for one in truth if one.name == rule and not _is_along(actor, one, setup)]
        found = [(event.started_s, event.time_s) for event in events if event.rule == rule and event.state == "ended"]
        _match(expected, found, scores[rule], _list_along(actor, rule, setup), scores[f"{rule}, along the view"])
    postures = merge_postures(actor.truth)
    for posture in POSTURES:
        expected = [one for one in postures if one.name == posture and one.end_s - one.start_s >= MIN_SCORED_S
                    and not _is_along(actor, one, setup)]  # fmt: skip
        found = [(event.started_s, event.time_s) for event in events
                 if event.rule == "posture" and event.state == "ended" and event.label == posture]  # fmt: skip
        others = [one for one in actor.truth if one.name in {*POSTURES, "bending", "kneeling"} - {posture}]
        wrong = [one for one in found if sum(_share(one, other) for other in others) > 0.5]
        rest = [one for one in found if one not in wrong]
        _match(expected, rest, scores[posture],
               _list_along(actor, posture, setup), scores[f"{posture}, along the view"], True)  # fmt: skip
        scores[posture].wrong += len(wrong)
    for exercise in EXERCISES:
        if name == "push-ups" and not (is_from_side(setup.heading) and setup.camera_m < 2):
            continue  # from the front, from behind and from above it looks as if somebody stands
        if exercise == "squat" and any(
            step in name for step in ("sit", "crouch", "kneel", "bend", "fall", "lie", "left")
        ):
            continue  # the same movement: stand up from a crouch or a chair
        expected_count = sum(one.name == exercise for one in truth)
        count = sum(event.rule == exercise for event in events)
        score = scores[exercise]
        score.right += min(count, expected_count)
        score.wrong += max(0, count - expected_count)
        score.missed += max(0, expected_count - count)


def is_facing(heading: float) -> bool:
    """Return True if the chest is turned to the camera, by at most 50 degrees."""
    return abs((heading - 180 + 180) % 360 - 180) <= 50


def is_from_side(heading: float) -> bool:
    """Return True if the person is seen from the side, by at least 45 degrees."""
    return abs((heading % 180) - 90) <= 45


def merge_postures(truth: Sequence[Interval]) -> list[Interval]:
    """Return the postures, with those of the same name that follow each other joined; walking is standing."""
    merged: list[Interval] = []
    for one in sorted(truth, key=lambda interval: interval.start_s):
        name = "standing" if one.name == "walking" else one.name
        if name not in (*POSTURES, "kneeling", "bending", "squat", "push_up"):
            continue
        if merged and merged[-1].name == name and one.start_s - merged[-1].end_s < 2:
            merged[-1] = replace(merged[-1], end_s=max(one.end_s, merged[-1].end_s))
        else:
            merged.append(replace(one, name=name))
    return merged


def _share(span: tuple[float, float], interval: Interval) -> float:
    overlap = min(span[1], interval.end_s) - max(span[0], interval.start_s)
    return overlap / max(1e-6, span[1] - span[0])


def _is_along(actor: Actor, interval: Interval, setup: Setup) -> bool:
    """Return True for somebody who lies along the view: head or feet point at the camera, within 30 degrees."""
    if interval.name not in ("lying", "fall"):
        return False
    points, _ = actor.get_points(interval.end_s - 0.3)
    axis = points[1, :2] - points[[8, 11], :2].mean(axis=0)
    view = points[1, :2]
    cosine = abs(float(axis @ view)) / float(np.linalg.norm(axis) * np.linalg.norm(view))
    return bool(cosine > np.cos(np.radians(30)))


def _list_along(actor: Actor, name: str, setup: Setup) -> list[Interval]:
    return [one for one in actor.truth if one.name == name and _is_along(actor, one, setup)]


def _match(
    expected: Sequence[Interval],
    found: Sequence[tuple[float, float]],
    score: Score,
    along: Sequence[Interval] = (),
    along_score: Score | None = None,
    ignore_others: bool = False,
) -> None:
    """Match events to the truth: they overlap by at least half of the shorter one.

    Args:
        expected: Truth.
        found: Begin and end of the events.
        score: Score that is changed.
        along: Truth that has a score of its own.
        along_score: This score.
        ignore_others: True if events that match nothing are not wrong.
    """
    left, left_along = list(expected), list(along)
    for span in found:
        if (hit := _find_overlap(span, left)) is not None:
            left.remove(hit)
            score.right += 1
        elif along_score is not None and (hit := _find_overlap(span, left_along)) is not None:
            left_along.remove(hit)
            along_score.right += 1
        else:
            score.wrong += not ignore_others
    score.missed += len(left)
    if along_score is not None:
        along_score.missed += len(left_along)


def _find_overlap(span: tuple[float, float], intervals: Sequence[Interval]) -> Interval | None:
    for one in intervals:
        overlap = min(span[1], one.end_s) - max(span[0], one.start_s)
        if overlap >= 0.5 * min(span[1] - span[0], one.end_s - one.start_s):
            return one
    return None


def measure_scores(
    setups: Iterable[Setup], scripts: Iterable[str] = SCRIPTS, estimator: PoseEstimator | None = None
) -> dict[str, Score]:
    """Play all scripts in all setups."""
    scores: dict[str, Score] = defaultdict(Score)
    for setup in setups:
        for name in scripts:
            score_script(name, setup, scores, estimator)
    return scores


def count_idle_events(minutes: float, seed: int, missing: float) -> Counter[str]:
    """Return the events of rules that must be silent while people stand, sit, walk, talk and tie their shoes."""
    counts: Counter[str] = Counter()
    rng = np.random.default_rng(seed)
    config = replace(CONFIG, angle=(), posture=(PostureConfig(name="posture", postures=("lying",)),))
    setups = list_setups(missing, [seed])
    played_s = 0.0
    while played_s < minutes * 60:
        setup = setups[int(rng.integers(len(setups)))]
        actor = make_actor(lambda one: _idle(one, rng), replace(setup, seed=int(rng.integers(1 << 30))))
        played_s += actor.end_s
        counts.update(event.rule for event in play([actor], setup, config) if event.state != "ended")
    return counts


def _idle(actor: Actor, rng: np.random.Generator) -> None:
    """Do what people do for about three minutes."""
    home = actor.position
    while actor.end_s < 180:
        choice = rng.integers(6)
        if choice == 0:
            actor.stand(float(rng.uniform(5, 20)))
        elif choice == 1:
            actor.sit_down(float(rng.uniform(15, 40)))
            if rng.random() < 0.5:
                actor.talk(float(rng.uniform(5, 20)))
            actor.get_up()
        elif choice == 2:
            actor.talk(float(rng.uniform(5, 20)))
        elif choice == 3:
            for _ in range(int(rng.integers(1, 4))):
                actor.walk_to((home[0] + float(rng.uniform(-0.8, 1.5)), float(rng.uniform(-1.2, 1.2))))
        elif choice == 4:
            actor.kneel(float(rng.uniform(9, 15)))
            actor.get_up()
        else:
            actor.turn_to(float(rng.uniform(0, 360)))
            actor.stand(3)


def format_table(rows: Iterator[tuple[str, dict[str, Score]]]) -> str:
    """Format precision and recall per rule, one line each."""
    lines = []
    for title, scores in rows:
        lines += [title, f"  {'':22} {'true':>6} {'precision':>10} {'recall':>8}"]
        lines += [
            f"  {name:22} {score.right + score.missed:6d} {100 * score.precision:8.1f} % {100 * score.recall:6.1f} %"
            for name, score in scores.items()
            if score.right + score.wrong + score.missed
        ]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Precision and recall of event rules on synthetic people.")
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=100, help="first seed")
    parser.add_argument("--idle-minutes", type=float, default=30, help="length of the scene without events")
    parser.add_argument("--model", help="draw the people, and find them with this model, in two setups only")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    if arguments.model:
        setups = [Setup(1.9, 4.0, heading, 0.0, arguments.first_seed) for heading in (110, 150)]
        scores = measure_scores(setups, estimator=PoseEstimator(arguments.model))
        print(format_table(iter([(arguments.model, scores)])))
        return
    for missing in (0.0, 0.3):
        scores = measure_scores(list_setups(missing, seeds))
        print(format_table(iter([(f"{100 * missing:.0f} % of the keypoints missing, {NOISE_PX:g} px noise", scores)])))
        idle = count_idle_events(arguments.idle_minutes, arguments.first_seed, missing)
        print(f"  idle, {arguments.idle_minutes:g} minutes: {dict(idle) or 'no events'}", flush=True)


if __name__ == "__main__":
    main()
