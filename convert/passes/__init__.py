"""Graph transformations: folding, simplification, batch normalization statistics, random weights."""
