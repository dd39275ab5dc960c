"""How long a run takes, on how many nodes, and what it costs."""
