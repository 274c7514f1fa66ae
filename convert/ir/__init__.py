"""Intermediate representation of a network: the graph and its analysis."""
