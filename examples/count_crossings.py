"""Count the people who cross a line: python count_crossings.py video.mp4"""

import sys

import edgepose
import edgepose.events

rules = edgepose.events.parse_rules("""
[[events.line]]
name = "middle"
points = [[0.5, 0.0], [0.5, 1.0]]
""")
engine = edgepose.events.EventEngine(rules)
for frame, poses in edgepose.stream(sys.argv[1], "edgepose-small"):
    height, width = frame.image.shape[:2]
    for event in engine.update(poses, frame.timestamp_ns / 1e9, (width, height)):
        print(f"{event.time_s:.1f} s: person {event.person} goes {event.direction}")
counts = engine.get_states()[0].counts
print(f"in: {counts['in']}, out: {counts['out']}")
