"""Instructions per frame of decoder and preprocessing: a speed test for CI that does not depend on the machine's load.

`python -m edgepose.benchmarks.micro.instructions` counts them with callgrind and fails if a count is more than 10 %
above the one in `instructions.json`; `--save` updates this file. The count is the difference between two runs with
different numbers of frames, so the start of Python is not included.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from platform import machine

_STORED_COUNTS = Path(__file__).with_name("instructions.json")
_MAX_GROWTH = 1.1
_FEW_FRAMES, _MANY_FRAMES = 4, 24
_PEOPLE, _GRID, _STRIDE = 5, (46, 54), 8
_FRAME_SHAPE = (480, 640, 3)
KINDS = ("decode", "decode int8", "preprocess", "OpenCV resize")


def count_instructions() -> dict[str, int]:
    """Count the instructions per frame of each kind of work.

    Raises:
        FileNotFoundError: valgrind is not installed.
    """
    if shutil.which("valgrind") is None:
        raise FileNotFoundError("valgrind")
    jobs = [(kind, frames) for kind in KINDS for frames in (_FEW_FRAMES, _MANY_FRAMES)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        totals = dict(zip(jobs, pool.map(lambda job: _count_process(*job), jobs), strict=True))
    found = {
        kind: (totals[kind, _MANY_FRAMES] - totals[kind, _FEW_FRAMES]) // (_MANY_FRAMES - _FEW_FRAMES) for kind in KINDS
    }
    found["preprocess without resize"] = found["preprocess"] - found["OpenCV resize"]
    return found


def _count_process(kind: str, frames: int) -> int:
    """Count the instructions of a process that processes a number of frames."""
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m",
        "edgepose.benchmarks.micro.instructions", kind, str(frames),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"no instruction count in the output of valgrind: {done.stderr[-500:]}")
    return int(found[1])


def _process_frames(kind: str, frames: int) -> None:
    """Do the work that is counted."""
    import cv2
    import numpy as np

    from ...runtime.decode import Decoder
    from ...runtime.preprocess import Preprocessor
    from ...runtime.synthetic.fields import place_people, render_fields
    from ...runtime.types import GridToFrame, PoseFields, Quantization

    cv2.setNumThreads(1)
    heatmaps, pafs = render_fields(place_people(_PEOPLE, *_GRID, np.random.default_rng(0)), *_GRID)
    float_fields = PoseFields(heatmaps, pafs)
    quantization = Quantization(1 / 127, 0)
    heatmaps_int8, pafs_int8 = (np.rint(maps * 127).astype(np.int8) for maps in (heatmaps, pafs))
    int8_fields = PoseFields(heatmaps_int8, pafs_int8, quantization, quantization)
    frame = np.random.default_rng(0).integers(0, 255, _FRAME_SHAPE, np.uint8)
    target = np.zeros((_GRID[0] * _STRIDE, _GRID[1] * _STRIDE, 3), np.uint8)
    decoder = Decoder(*_GRID)
    preprocessor = Preprocessor(target.shape[1], target.shape[0], "letterbox", "bgr")
    width, height = preprocessor.compute_target_size(_FRAME_SHAPE[1], _FRAME_SHAPE[0])
    to_frame = GridToFrame(_STRIDE, _STRIDE)
    for _ in range(frames):
        if kind == "decode":
            decoder.decode(float_fields, to_frame)
        elif kind == "decode int8":
            decoder.decode(int8_fields, to_frame)
        elif kind == "preprocess":
            preprocessor.prepare(frame, "bgr", target)
        else:
            cv2.resize(frame, (width, height), dst=target[:height, :width], interpolation=cv2.INTER_LINEAR)


def main() -> int:
    """Print the counts and their change. Returns the exit code: 1 if one has grown by more than 10 %."""
    if len(sys.argv) == 3:
        _process_frames(sys.argv[1], int(sys.argv[2]))
        return 0
    stored: dict[str, dict[str, int]] = json.loads(_STORED_COUNTS.read_text()) if _STORED_COUNTS.exists() else {}
    stored_here = stored.get(machine(), {})
    try:
        now = count_instructions()
    except FileNotFoundError:
        print("instructions not counted: valgrind is not installed")
        return 0
    grown = []
    for kind, count in now.items():
        before = stored_here.get(kind)
        print(f"{kind:30}{count:12,} instructions per frame" + (f"  {count / before - 1:+.1%}" if before else ""))
        if before and count > before * _MAX_GROWTH:
            grown.append(kind)
    if "--save" in sys.argv:
        _STORED_COUNTS.write_text(json.dumps({**stored, machine(): now}, indent=1) + "\n")
    elif grown:
        print(
            f"more than {_MAX_GROWTH - 1:.0%} above the stored count: {', '.join(grown)}; run with --save to accept",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
