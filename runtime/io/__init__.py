"""Input and output: images, videos, result formats, file writing, device names and safe text."""
