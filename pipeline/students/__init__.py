"""Applying a student to files."""
