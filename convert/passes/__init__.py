"""Changes to a graph that keep what it computes: folding, simplifying, batch statistics."""
