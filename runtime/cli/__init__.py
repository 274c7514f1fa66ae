"""The command `edgepose`: its dispatcher, and the commands `run` and `info`."""
