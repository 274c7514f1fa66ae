"""Camera loop: pipelined capture, inference and decoding, recovery from faults, thermal control, process shutdown."""
