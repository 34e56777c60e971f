"""From cohort tables on disk to batches."""
