"""Where the units of a study run: as processes on this machine, or as jobs of Slurm."""
