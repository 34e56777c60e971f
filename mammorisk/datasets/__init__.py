"""Cohort tables, samples, images and loaders."""
