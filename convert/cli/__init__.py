"""The commands of the workstation: `convert`, `models`, `eval`."""
