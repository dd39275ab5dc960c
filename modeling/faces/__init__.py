"""Faces as numbers: the detector, square crops, the FER+ labels."""
