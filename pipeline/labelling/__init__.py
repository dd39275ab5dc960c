"""From manifest to distillation set: the Ray Data plan and its operators."""
