"""Model files: container, manifest, registry, interpreter, and loading of untrusted files in a child process."""
