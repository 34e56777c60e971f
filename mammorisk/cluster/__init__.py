"""Jobs on a Slurm cluster: submission and requeueing."""
