"""The state of board and loop: temperature, memory, statistics, systemd."""
