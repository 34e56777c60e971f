"""Weights from other sources: read without running code, renamed, loaded strictly, with their image settings."""
