"""Clips and snapshots of events: a few seconds before and after, from a ring of compressed frames."""
