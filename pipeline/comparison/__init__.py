"""How two distillation sets of the same utterances differ."""
