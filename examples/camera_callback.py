"""Your function in the camera loop, without a screen: python camera_callback.py [SOURCE] [SECONDS]

The default source is the camera of a Raspberry Pi. A lost camera is opened again.
"""

import sys

import edgepose


def on_poses(frame: edgepose.Frame, poses: tuple[edgepose.Pose, ...]) -> None:
    """Called in a thread of its own, with each frame and its people."""
    raised = [pose.person for pose in poses if pose["right_wrist"].found and pose["right_wrist"].y < pose["nose"].y]
    print(f"frame {frame.index}: {len(poses)} people, right hand raised: {raised or 'nobody'}", flush=True)


source = sys.argv[1] if len(sys.argv) > 1 else "picamera2"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else None
edgepose.run_camera(on_poses, source=source, seconds=seconds)
