"""Programs that run on a board: `probe.py` (facts), `install.py` (root steps), `imports.py`, `activate.sh` (switch)."""
