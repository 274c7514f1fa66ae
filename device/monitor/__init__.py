"""Monitoring of the board and the camera loop: temperature, memory, statistics, systemd, log."""
