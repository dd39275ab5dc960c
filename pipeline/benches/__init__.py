"""Measurements of speed, each compared with a floor and a peer."""
