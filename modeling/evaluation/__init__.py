"""Measures: AUC, divergence, linear probes, FER+ accuracy."""
