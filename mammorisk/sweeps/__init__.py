"""Sweeps: states of jobs, resumption by the same command, and reports."""
