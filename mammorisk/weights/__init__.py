"""Weights of other people: read without running them, renamed to ours, loaded strictly, with what belongs to them."""
