"""Hydra's plug-ins of mammorisk."""
