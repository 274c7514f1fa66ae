"""Graph transformations: folding, simplification, limits of ReLU, padding, batch statistics, random weights."""
