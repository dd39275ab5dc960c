"""Readers of labelled speech corpora."""
