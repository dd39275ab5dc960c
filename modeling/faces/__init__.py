"""Faces: the detector, square crops, the labels of FER+."""
