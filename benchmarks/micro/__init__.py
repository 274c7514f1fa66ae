"""Benchmarks of single parts: decoder (with tf-pose-estimation for comparison), pipeline, camera loop, instructions."""
