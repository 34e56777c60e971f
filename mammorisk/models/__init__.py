"""Risk models and their layers."""
