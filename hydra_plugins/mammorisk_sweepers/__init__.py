"""Sweepers of mammorisk as Hydra plug-ins."""
