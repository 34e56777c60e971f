"""Reports: figures and pages from the numbers of a run."""
