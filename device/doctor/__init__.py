"""`edgepose doctor` without a board: checks of the machine on which it runs."""
