"""A decoder in its own process, so that a poisonous file kills nothing else."""
