"""Test files from the synthetic scene: a small COCO data set with exact annotations, and a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgepose.runtime.io.formats import make_coco_keypoints
from edgepose.runtime.io.images import write_image
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import Pose


def annotate(number: int, image: int, keypoints: np.ndarray) -> dict[str, Any]:
    values = make_coco_keypoints(Pose(keypoints, 1.0), COCO18)
    points = np.reshape(values, (-1, 3))
    points[points[:, 2] > 0, 2] = 2
    there = points[points[:, 2] > 0, :2]
    (left, top), (right, bottom) = there.min(axis=0), there.max(axis=0)
    return {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "num_keypoints": len(there),
        "keypoints": [float(value) for value in points.ravel()],
        "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
        "area": float(0.53 * (right - left) * (bottom - top)),
    }  # fmt: skip


def write_dataset(folder: Path, images: int = 4, people: int = 3) -> Path:
    """Write `images/` and `annotations.json`; return the folder."""
    (folder / "images").mkdir(parents=True)
    scene = Scene(people, 640, 480)
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, images + 1):
        frame = scene.render_frame(number * 12)
        write_image(folder / "images" / f"{number}.png", frame.image)
        entries.append({"id": number, "file_name": f"{number}.png", "width": 640, "height": 480})
        for points in frame.keypoints:
            keypoints = np.concatenate((points, np.ones((18, 1), np.float32)), axis=1)
            annotations.append(annotate(len(annotations) + 1, number, keypoints))
    categories = [{"id": 1, "name": "person", "keypoints": [str(i) for i in range(17)]}]
    document = {"images": entries, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def write_video(path: Path, frames: int) -> Path:
    """Write a video of two people, 320x240, 25 FPS (Motion JPEG)."""
    scene = Scene(2, 320, 240)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for index in range(frames):
        writer.write(scene.render_frame(index).image)
    writer.release()
    return path
