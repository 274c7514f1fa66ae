"""Instructions a frame costs, which, unlike its time, are the same on every run: a guard for CI.

`python -m edgepose.benchmarks.micro.instructions` counts them with callgrind on this machine and fails if one has
grown by more than a tenth since the figures in `instructions.json`; `--save` writes those anew. Counted is what one
more frame costs, so that starting Python does not matter.
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

_KNOWN = Path(__file__).with_name("instructions.json")
_GROWTH = 1.1
_FEW, _MANY = 4, 24
_PEOPLE, _GRID, _STRIDE = 5, (46, 54), 8
_FRAME = (480, 640, 3)
KINDS = ("decode", "decode int8", "preprocess", "resize alone")


def counted() -> dict[str, int]:
    """Instructions a frame, by what is done with it. Raises FileNotFoundError where there is no valgrind."""
    if shutil.which("valgrind") is None:
        raise FileNotFoundError("valgrind")
    jobs = [(kind, count) for kind in KINDS for count in (_FEW, _MANY)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        totals = dict(zip(jobs, pool.map(lambda job: _total(*job), jobs), strict=True))
    found = {kind: (totals[kind, _MANY] - totals[kind, _FEW]) // (_MANY - _FEW) for kind in KINDS}
    found["preprocess beside the resize"] = found["preprocess"] - found["resize alone"]
    return found


def _total(kind: str, count: int) -> int:
    """Instructions of a process that does `kind` `count` times."""
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m",
        "edgepose.benchmarks.micro.instructions", kind, str(count),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"valgrind said nothing of instructions: {done.stderr[-500:]}")
    return int(found[1])


def _work(kind: str, count: int) -> None:
    """What is counted."""
    import cv2
    import numpy as np

    from ...runtime.decode import Decoder
    from ...runtime.preprocess import Preprocessor
    from ...runtime.synthetic.fields import crowd, fields
    from ...runtime.types import GridToFrame, PoseFields, Quantization

    cv2.setNumThreads(1)
    heatmaps, pafs = fields(crowd(_PEOPLE, *_GRID, np.random.default_rng(0)), *_GRID)
    real = PoseFields(heatmaps, pafs)
    scale = Quantization(1 / 127, 0)
    whole, vectors = (np.rint(maps * 127).astype(np.int8) for maps in (heatmaps, pafs))
    stored = PoseFields(whole, vectors, scale, scale)
    frame = np.random.default_rng(0).integers(0, 255, _FRAME, np.uint8)
    target = np.zeros((_GRID[0] * _STRIDE, _GRID[1] * _STRIDE, 3), np.uint8)
    decoder = Decoder(*_GRID)
    preprocessor = Preprocessor(target.shape[1], target.shape[0], "letterbox", "bgr")
    width, height = preprocessor.target_size(_FRAME[1], _FRAME[0])
    to_frame = GridToFrame(_STRIDE, _STRIDE)
    for _ in range(count):
        if kind == "decode":
            decoder.decode(real, to_frame)
        elif kind == "decode int8":
            decoder.decode(stored, to_frame)
        elif kind == "preprocess":
            preprocessor.prepare(frame, "bgr", target)
        else:
            cv2.resize(frame, (width, height), dst=target[:height, :width], interpolation=cv2.INTER_LINEAR)


def main() -> int:
    """Prints the counts beside the known ones; 1 where one has grown too much."""
    if len(sys.argv) == 3:
        _work(sys.argv[1], int(sys.argv[2]))
        return 0
    known: dict[str, dict[str, int]] = json.loads(_KNOWN.read_text()) if _KNOWN.exists() else {}
    here = known.get(machine(), {})
    try:
        now = counted()
    except FileNotFoundError:
        print("instructions not counted: there is no valgrind on this machine")
        return 0
    grown = []
    for kind, count in now.items():
        before = here.get(kind)
        print(f"{kind:30}{count:12,} instructions a frame" + (f"  {count / before - 1:+.1%}" if before else ""))
        if before and count > before * _GROWTH:
            grown.append(kind)
    if "--save" in sys.argv:
        _KNOWN.write_text(json.dumps({**known, machine(): now}, indent=1) + "\n")
    elif grown:
        print(f"grown by more than {_GROWTH - 1:.0%}: {', '.join(grown)}; --save accepts it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
