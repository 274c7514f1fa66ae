"""Count squats in a video by the knee angle: python count_squats.py clip.mp4"""

import sys
from collections import defaultdict

import edgepose

BENT, STRAIGHT = 110, 150  # degrees; the gap (hysteresis) keeps jitter from being counted
is_down: dict[int, bool] = defaultdict(bool)
squats: dict[int, int] = defaultdict(int)

for _, poses in edgepose.stream(sys.argv[1]):
    for pose in poses:
        angles = [angle for angle in (pose.angle("left_knee"), pose.angle("right_knee")) if angle is not None]
        if not angles:
            continue
        angle = sum(angles) / len(angles)
        if angle < BENT:
            is_down[pose.person] = True
        elif angle > STRAIGHT and is_down[pose.person]:
            is_down[pose.person] = False
            squats[pose.person] += 1
print(dict(squats))
