"""A decoder in a process of its own, so that a poisonous file kills nothing else."""
