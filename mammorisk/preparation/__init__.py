"""From the downloads of a cohort to a checked table and 16-bit images."""
