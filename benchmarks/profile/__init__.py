"""Measurements of `edgepose profile`: latency, FPS, memory and operators of models on this machine."""
