"""The command `edgepose profile`."""
