"""Version of mammorisk."""

__version__ = "0.1.0"
