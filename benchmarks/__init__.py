"""Measurements: speed against named rivals, start-up, memory, and the demonstration."""
