"""What runs on the board beside inference."""
