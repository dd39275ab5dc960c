"""Speech as the input of a network: spectrograms and pretrained front ends."""
