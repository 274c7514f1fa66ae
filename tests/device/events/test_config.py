"""Rules as data: every error names line, place, and what was expected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edgepose.events
from edgepose.device import config
from edgepose.device.events.config import MAX_RULES
from edgepose.runtime.errors import InputError

ZONE = '[[events.zone]]\nname = "yard"\npolygon = [[0, 0], [1, 0], [1, 1]]\n'


def test_the_example_has_valid_rules_of_every_kind() -> None:
    lines = config.EXAMPLE.partition("# [[events.")[2].splitlines()
    text = "\n".join(line.removeprefix("# ") for line in ["# [[events." + lines[0], *lines[1:]])
    rules = edgepose.events.parse_rules(text + '\n[[events.zone]]\nname = "bed"\npolygon = [[0, 0], [1, 0], [1, 1]]')
    assert all(getattr(rules, kind) for kind in ("zone", "line", "posture", "fall", "gesture", "angle", "repetitions",
                                                 "expression"))  # fmt: skip
    edgepose.events.EventEngine(rules)


@pytest.mark.parametrize(
    "text, words",
    [
        ('[[events.zones]]\nname = "a"', "events.zones: there is no such key; did you mean zone?"),
        ('[events.zone]\nname = "a"', "events.zone: expected a list of tables, [[events.zone]]"),
        ('[[events.zone]]\nname = "a"', "line 1: events.zone[0]: 'polygon' is missing"),
        ('[[zone]]\nname = "a"', "line 1: zone: there is no such key; expected one of model, camera"),
        ('[[events.line]]\nname = "a"\npoints = [0.1, 0.2]', "points[0]: expected a list of 2 values, got 0.1"),
        ('[[events.repetitions]]\nname = "a"\npreset = "dip"', "expected one of squat, push_up, curl, got 'dip'"),
        (ZONE + "polygn = 3", "line 4: events.zone[0].polygn: there is no such key; did you mean polygon?"),
        (ZONE + ZONE, "line 5: events.zone[1].name: expected a name that no other rule has, got 'yard'"),
        (ZONE + ZONE.replace("yard", "YARD"), "names are equal if only case"),
        (ZONE.replace("yard", ""), "events.zone[0].name: expected 1 to 64 printable characters"),
        (ZONE.replace("yard", "a/b"), "without / + #"),
        (ZONE.replace("yard", "a\\u0007"), "printable"),
        (ZONE.replace("yard", " a"), "without spaces at its ends"),
        (ZONE.replace("yard", "a" * 65), "1 to 64"),
        (ZONE.replace("[1, 1]", "[0, 1], [1, 1]"), "line 3: events.zone[0].polygon: the edge from"),
        (ZONE.replace("[1, 1]", "[1]"), "events.zone[0].polygon[2]: expected 2 values"),
        (ZONE.replace("[1, 1]", "[1, 2]"), None),
        (ZONE.replace("[1, 1]", "[0.5, 2]"), "got both: 0.5 and 2"),
        (ZONE + "min_score = 1.5", "events.zone[0].min_score: expected 0 to 1, got 1.5"),
        (ZONE + "min_height = -1", "events.zone[0].min_height: expected 0 to 1, got -1"),
        (ZONE + "cooldown_s = nan", "events.zone[0].cooldown_s: expected a number, got nan"),
        (ZONE + "dwell_s = -3", "events.zone[0].dwell_s: expected 0 to 86400, got -3"),
        (ZONE + "for_s = 1e9", "events.zone[0].for_s: expected 0 to 86400"),
        (ZONE + "capacity = -1", "events.zone[0].capacity: expected 0 to 1000, got -1"),
        (ZONE + f"capacity = {'9' * 400}", "events.zone[0].capacity: expected 0 to 1000, got a larger number"),
        (ZONE + 'inside = ["yrd"]', "events.zone[0].inside[0]: there is no zone 'yrd'; did you mean 'yard'?"),
        (ZONE + 'outside = ["x"]', "events.zone[0].outside[0]: there is no zone 'x'; expected one of yard"),
        (ZONE + 'inside = ["yard"]\noutside = ["yard"]', "events.zone[0].outside: 'yard' is in inside too"),
        (ZONE + 'hours = "22-6"', 'line 4: events.zone[0].hours: expected HH:MM-HH:MM such as "22:00-06:00"'),
        (ZONE + 'days = ["monday"]', "events.zone[0].days[0]: expected one of mon, tue"),
        (ZONE + 'cameras = ["dor"]\n[camera]\nsources = ["door=v4l2:0", "yard=v4l2:1"]',
         "events.zone[0].cameras[0]: there is no camera 'dor'; did you mean 'door'?"),
        (ZONE + 'cameras = ["door"]', None),
        ('[[events.line]]\nname = "a"\npoints = [[0, 0]]', "events.line[0].points: expected 2 to 100 points, got 1"),
        ('[[events.line]]\nname = "a"\npoints = [[0, 0], [0, 0]]', "points 1 and 2 are equal"),
        ('[[events.line]]\nname = "a"\npoints = [[0, 0], [1, 1]]\nmargin = 2', "line[0].margin: expected 0 to 1"),
        ("".join(ZONE.replace("yard", f"z{number}") for number in range(MAX_RULES + 1)), "at most 50 rules, got 51"),
        ('[[events.expression]]\nname = "a"', "events.expression[0]: 'expression' is missing"),
    ],
)  # fmt: skip
def test_wrong_rules_are_named(text: str, words: str | None) -> None:
    if words is None:
        edgepose.events.parse_rules(text)
        return
    with pytest.raises(InputError) as caught:
        edgepose.events.parse_rules(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_keypoints_are_checked_before_the_camera_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[[events.expression]]\nname = "a"\nexpression = "nose.y < left_wirst.y"\n')
    command = [sys.executable, "-m", "edgepose.runtime.cli", "camera", "--config", str(path)]
    done = subprocess.run(
        [*command, "--source", "synthetic:1", "--sink", "-"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith("events.expression[0].expression: column 10: no keypoint 'left_wirst'; did you mean left_wrist?")
    )


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(ZONE + '[camera]\nsource = "synthetic:1"\n')
    rules = edgepose.events.load_rules(path)
    assert rules.zone[0].name == "yard" and rules
    assert not edgepose.events.EventsConfig()
    with pytest.raises(InputError, match="cannot read"):
        edgepose.events.load_rules(tmp_path / "none.toml")
    assert all(getattr(edgepose.events, name) for name in edgepose.events.__all__)
