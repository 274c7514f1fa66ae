"""Draw with the annotators of supervision: python use_supervision.py photo.jpg drawn.png

Needs the extra `supervision`.
"""

import sys

import cv2
import supervision

import edgepose

image = cv2.imread(sys.argv[1])
keypoints = edgepose.PoseEstimator("edgepose-small").estimate(image).to_supervision()
drawn = supervision.EdgeAnnotator(thickness=3).annotate(image.copy(), keypoints)
drawn = supervision.VertexAnnotator(radius=4).annotate(drawn, keypoints)
cv2.imwrite(sys.argv[2], drawn)
