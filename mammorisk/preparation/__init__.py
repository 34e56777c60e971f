"""Preparation of cohorts: downloads to a checked table and 16-bit images."""
