"""Write the keypoints of all images in a folder to a CSV file: python folder_to_csv.py images/ keypoints.csv"""

import csv
import sys
from pathlib import Path

import edgepose

estimator = edgepose.PoseEstimator()
with Path(sys.argv[2]).open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["image", "person", "keypoint", "x", "y", "score"])
    for path in sorted(Path(sys.argv[1]).iterdir()):
        try:
            result = estimator.estimate(path)
        except edgepose.InputError as error:
            print(error, file=sys.stderr)  # continue with the other images
            continue
        for number, pose in enumerate(result, 1):
            for name in result.skeleton.keypoints:
                x, y, score = pose[name]
                if score > 0:
                    table.writerow([path.name, number, name, round(x, 1), round(y, 1), round(score, 3)])
