"""Conversion on the workstation: import, repair, fold, export and verify pose networks."""
