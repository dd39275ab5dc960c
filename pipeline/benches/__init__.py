"""Measurements beside a floor and a peer."""
