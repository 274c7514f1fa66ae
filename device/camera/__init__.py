"""The camera loop: capture, inference and decoding at once, restarts, heat, the end of the process."""
