"""The video decoders by name, for those who load none of them."""

DECODERS = ("pyav", "decord")
"""`pipeline/media/frames.py` has their functions."""
