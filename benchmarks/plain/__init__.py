"""Plain variants of models and layers: the same numbers, written in the common way."""
