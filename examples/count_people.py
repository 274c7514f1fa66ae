"""Count the people in images: python count_people.py a.jpg b.jpg"""

import sys

import edgepose

estimator = edgepose.PoseEstimator("edgepose-small")
for path in sys.argv[1:]:
    print(path, len(estimator.estimate(path)))
