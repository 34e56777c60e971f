"""What a trained model is worth: measures with intervals, subgroups, comparisons, recalibration, and their files."""
