"""Count squats in a video, with `edgepose.events`: python count_squats.py clip.mp4"""

import sys

import edgepose
import edgepose.events

rules = edgepose.events.parse_rules('[[events.repetitions]]\nname = "squats"\npreset = "squat"')
engine = edgepose.events.EventEngine(rules)
squats: dict[int, int] = {}

for frame, poses in edgepose.stream(sys.argv[1]):
    height, width = frame.image.shape[:2]
    for event in engine.update(poses, frame.timestamp_ns / 1e9, (width, height)):
        squats[event.person] = event.count or 0
        print(f"{event.time_s:.1f} s: person {event.person}, squat {event.count}, {event.value:.0f} degrees")
print(squats)
