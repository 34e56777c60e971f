"""Caches on disk: checked entries, and images, features and displacements kept in them."""
