"""Processes of one run: launch, collectives, signals and errors that all of them raise."""
