"""The transfer benchmark: acted speech paired with real faces."""
