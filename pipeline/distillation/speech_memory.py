"""How much speech a training keeps in memory."""

KEPT_GIB = 0.5
"""Default amount of decoded speech that a worker keeps from pass to pass: 4.6 hours. Decoding a window takes 1.1 ms of a CPU
core, about 2 ms with finding and reading it: a quarter of the time that training the compact student on it takes."""

SAMPLE_BYTES = 2
"""Decoded speech is int16."""
