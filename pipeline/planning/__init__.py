"""How long, how many nodes, at what cost."""
