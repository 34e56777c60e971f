"""Simulated screening cohort with known truth: every woman's hazard, every pair's displacement field.

Nothing here imports torch, so that the processes that draw the images start fast.
"""
