"""The commands of the device: `camera`, and for boards `deploy`, `status`, `logs`, `rollback`, `doctor`."""
