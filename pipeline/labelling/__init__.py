"""From a manifest to a distillation set: the Ray Data plan and its operators."""
