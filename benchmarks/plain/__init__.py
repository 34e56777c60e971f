"""Plain variants of what the benchmarks measure: the same numbers, written as is common."""
