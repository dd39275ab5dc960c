"""Sound as input of a network: spectrograms and self-supervised front ends."""
