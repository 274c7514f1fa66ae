"""Frame sources: cameras, network streams, videos, folders of images, the synthetic scene."""
