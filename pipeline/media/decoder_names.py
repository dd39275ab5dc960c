"""The video decoders by name, for those who load none of them."""

DECODER_NAMES = ("pyav", "decord")
"""`pipeline/media/frames.py` has their functions."""
