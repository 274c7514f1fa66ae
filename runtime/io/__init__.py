"""Reading images and videos, writing results, names and text for output."""
