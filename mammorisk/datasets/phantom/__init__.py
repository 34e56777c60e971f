"""A synthetic screening cohort whose truth is known: every woman's hazard, every pair's displacement field.

Nothing here imports torch: the processes that draw the pictures start fast.
"""
