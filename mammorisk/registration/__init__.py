"""Displacement fields between a prior and the current exam."""
