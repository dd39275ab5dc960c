"""From distillation set to student."""
