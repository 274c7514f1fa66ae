"""Call a function for each frame of the camera loop: python camera_callback.py [SOURCE] [SECONDS]

The default source is the camera of a Raspberry Pi. No screen is needed. A lost camera is opened again.
"""

import sys

import edgepose


def on_poses(frame: edgepose.Frame, poses: tuple[edgepose.Pose, ...]) -> None:
    """Print the people with a raised right hand. The loop calls this in a separate thread for each frame."""
    raised = [pose.person for pose in poses if pose["right_wrist"].found and pose["right_wrist"].y < pose["nose"].y]
    print(f"frame {frame.index}: {len(poses)} people, right hand raised: {raised or 'nobody'}", flush=True)


source = sys.argv[1] if len(sys.argv) > 1 else "picamera2"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else None
edgepose.run_camera(on_poses, source=source, seconds=seconds)
