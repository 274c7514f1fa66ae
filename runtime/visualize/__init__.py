"""Drawing poses on images and videos."""
