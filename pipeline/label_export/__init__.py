"""Distillation sets in the forms that other programs read: tar shards, parquet with sound, tables."""
