"""Benchmarks: speed of each part and of other implementations, start-up time, memory; and the demo."""
