"""Run directories: their files, logs, progress and start."""
