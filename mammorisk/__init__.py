"""mammorisk: breast-cancer risk models on screening mammograms, trained, evaluated and compared.

The package root imports nothing heavy, so that command-line help and tab completion answer at once.
"""

__version__ = "0.1.0"
