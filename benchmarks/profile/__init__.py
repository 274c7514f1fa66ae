"""`edgepose profile`: how fast models run on this machine, and what decides it."""
