"""Camera loop, trackers, sinks and deployment for edge devices."""
