"""Augmentation of exam histories (training only)."""
