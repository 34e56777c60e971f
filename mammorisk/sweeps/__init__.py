"""Sweeps: what has become of each job, the same command going on with what is left, and what to tell of all of them."""
