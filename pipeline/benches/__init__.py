"""Measurements of speed, each beside a floor and a peer."""
