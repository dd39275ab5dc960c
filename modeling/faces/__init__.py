"""What is known of faces: the detector, square crops, the labels of FER+."""
