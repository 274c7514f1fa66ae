"""The model file: manifest, container, registry, interpreter."""
