"""From a distillation set to a trained student."""
