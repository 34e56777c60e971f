"""Caches on disk of decoded images, features and displacements, in checked entries."""
