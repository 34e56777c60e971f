"""Risk models and their parts."""
