"""Person tracking and keypoint smoothing."""
