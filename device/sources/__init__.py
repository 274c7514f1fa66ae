"""Where frames come from: cameras, network streams, videos, folders, the synthetic scene."""
