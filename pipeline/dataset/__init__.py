"""The manifest and the distillation set, as tables on storage."""
