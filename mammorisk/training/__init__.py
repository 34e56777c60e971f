"""Training: loop, set-up, checkpoints, data and tracking."""
