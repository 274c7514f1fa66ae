"""The intermediate representation of a network: its graph, and what can be read from it."""
