"""Drawing of poses on images and videos."""
