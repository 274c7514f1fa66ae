"""What is sent to a board: a look at it (`probe.py`), the switch between releases (`activate.sh`), systemd's units."""
