"""Measures: AUC, divergence, linear probes, accuracy on FER+."""
