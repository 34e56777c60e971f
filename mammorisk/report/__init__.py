"""Figures and pages made from a run's numbers."""
