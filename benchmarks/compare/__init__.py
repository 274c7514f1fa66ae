"""Comparison of edgepose models with other pose networks: accuracy, time, size and computation in one run."""
