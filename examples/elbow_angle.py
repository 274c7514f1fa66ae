"""Print the elbow angles of every person: python elbow_angle.py photo.jpg"""

import sys

import edgepose

for number, pose in enumerate(edgepose.PoseEstimator().estimate(sys.argv[1]), 1):
    for joint in ("right_elbow", "left_elbow"):
        angle = pose.angle(joint)
        print(f"person {number}: {joint}", "not visible" if angle is None else f"{angle:.0f} degrees")
