"""Checks of a converted model: differences of its maps, agreement of poses, COCO AP."""
