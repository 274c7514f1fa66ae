"""Draw skeletons in your own OpenCV loop: python draw_in_your_loop.py clip.mp4 drawn.avi"""

import sys

import cv2

import edgepose

estimator = edgepose.PoseEstimator()
capture = cv2.VideoCapture(sys.argv[1])
if not capture.isOpened():
    sys.exit(f"cannot open {sys.argv[1]}")
fps = capture.get(cv2.CAP_PROP_FPS)
writer = None
while True:
    ok, frame = capture.read()
    if not ok:
        break
    drawn = edgepose.draw_poses(frame, estimator.estimate(frame))
    if writer is None:
        height, width = drawn.shape[:2]
        writer = cv2.VideoWriter(sys.argv[2], cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    writer.write(drawn)
capture.release()
if writer is not None:
    writer.release()
