"""Measurements of single parts against named rivals: decoder, pipeline, camera loop, instruction counts."""
