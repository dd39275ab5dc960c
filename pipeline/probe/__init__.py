"""What a student's outputs and embedding tell about a labelled corpus."""
