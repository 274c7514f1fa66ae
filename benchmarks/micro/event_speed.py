"""Time of the rules per frame, for several people and rules, and its ratio to the time of the tracker.

    python -m edgepose.benchmarks.micro.event_speed [--people 10] [--rules 10]

The people walk; their keypoints have noise, and some are missing. The ratio says more than milliseconds on a machine
that does other work too: both run in turns on the same frames.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from statistics import median
from time import perf_counter

import numpy as np

from ...device.events.angle import AngleConfig
from ...device.events.config import EventsConfig
from ...device.events.engine import EventEngine
from ...device.events.expression import ExpressionConfig
from ...device.events.fall import FallConfig
from ...device.events.gesture import GestureConfig
from ...device.events.line import LineConfig
from ...device.events.posture import PostureConfig
from ...device.events.repetitions import RepetitionsConfig
from ...device.events.rule import CommonConfig
from ...device.events.zone import ZoneConfig
from ...device.tracking.tracker import Tracker
from ...runtime.synthetic import Scene
from ...runtime.types import Pose

FRAMES = 300
FPS = 15.0
SIZE = (640, 480)
HALF = ((0.0, 0.0), (0.5, 0.1), (0.6, 0.5), (0.5, 1.0), (0.0, 1.0))
EXPRESSION = "right_wrist.y < nose.y and distance(left_wrist, right_wrist) < 0.2 * height"
RULES: dict[str, CommonConfig] = {
    "zone": ZoneConfig(name="zone", polygon=HALF, dwell_s=2.0, capacity=3),
    "line": LineConfig(name="line", points=((0.5, 0.0), (0.5, 1.0))),
    "posture": PostureConfig(name="posture"),
    "fall": FallConfig(name="fall"),
    "gesture": GestureConfig(name="gesture", gesture="hand_raised"),
    "angle": AngleConfig(name="angle", keypoints=("shoulder", "elbow", "wrist"), below=90.0),
    "repetitions": RepetitionsConfig(name="repetitions", preset="squat"),
    "expression": ExpressionConfig(name="expression", expression=EXPRESSION, inside=("zone",)),
}


def make_frames(people: int) -> list[list[Pose]]:
    """Return the poses of people who walk, with noise and missing keypoints."""
    scene, rng = Scene(people, *SIZE, fps=FPS), np.random.default_rng(0)
    frames = []
    for frame in range(FRAMES):
        poses = []
        for truth in scene.render_frame(frame).keypoints:
            keypoints = np.ones((len(truth), 3), np.float32)
            keypoints[:, :2] = truth + rng.normal(0, 1, truth.shape)
            keypoints[rng.random(len(keypoints)) < 0.1] = 0
            poses.append(Pose(keypoints, 0.8))
        frames.append(poses)
    return frames


def time_rules(config: EventsConfig, frames: list[list[Pose]]) -> tuple[float, float]:
    """Return the median time of the rules, and of the tracker, in milliseconds per frame."""
    tracker, engine = Tracker(), EventEngine(config)
    tracking, rules = [], []
    for frame, poses in enumerate(frames):
        start_s = perf_counter()
        tracked = tracker.update(poses, frame / FPS)
        middle_s = perf_counter()
        engine.update(tracked, frame / FPS, SIZE, 1.7e9)
        engine.get_states()
        end_s = perf_counter()
        tracking.append(middle_s - start_s)
        rules.append(end_s - middle_s)
    return 1e3 * median(rules), 1e3 * median(tracking)


def make_config(kinds: list[str]) -> EventsConfig:
    """Return a configuration with one rule per entry."""
    tables: dict[str, list[CommonConfig]] = {kind: [] for kind in RULES}
    for number, kind in enumerate(kinds):
        name = f"{kind} {number}" if kind in kinds[:number] else kind
        tables[kind].append(replace(RULES[kind], name=name))
    return EventsConfig(**{kind: tuple(rules) for kind, rules in tables.items()})  # type: ignore[arg-type]


def main() -> None:
    """Print the time of all kinds together, and of each one alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--rules", type=int, default=10)
    arguments = parser.parse_args()
    frames = make_frames(arguments.people)
    mixed = [list(RULES)[number % len(RULES)] for number in range(arguments.rules)]
    rules_ms, tracker_ms = time_rules(make_config(mixed), frames)
    print(f"{arguments.people} people, {arguments.rules} rules: {rules_ms:.3f} ms, "
          f"{rules_ms / tracker_ms:.2f} times the tracker ({tracker_ms:.3f} ms)")  # fmt: skip
    own = [("zone", "line", "expression")[number % 3] for number in range(arguments.rules)]
    rules_ms, tracker_ms = time_rules(make_config(own), frames)
    print(f"only zones, lines and expressions: {rules_ms:.3f} ms, {rules_ms / tracker_ms:.2f}")
    for kind in RULES:
        kinds = ["zone", kind] if kind == "expression" else [kind]
        rules_ms, tracker_ms = time_rules(make_config(kinds), frames)
        print(f"{'zone and ' if len(kinds) > 1 else ''}{kind}: {rules_ms:.3f} ms, {rules_ms / tracker_ms:.2f}")


if __name__ == "__main__":
    main()
