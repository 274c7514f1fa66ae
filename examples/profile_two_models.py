"""Compare the speed of two models on this machine: python profile_two_models.py edgepose-tiny edgepose-small"""

import sys

import edgepose

rows = [edgepose.profile_model(model, seconds=2) for model in sys.argv[1:3]]
for row in rows:
    print(f"{row.model}: {row.fps:.1f} FPS")
fastest = max(rows, key=lambda row: row.fps)
print(f"{fastest.model} is faster, by a factor of {fastest.fps / min(row.fps for row in rows):.1f}")
