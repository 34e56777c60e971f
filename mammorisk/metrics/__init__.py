"""Survival metrics: pure functions of NumPy arrays."""
