"""Evaluation of trained models: measures with intervals, subgroups, comparisons, recalibration, and their files."""
