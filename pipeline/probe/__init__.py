"""How well a student's outputs and embedding tell the emotions of a labelled corpus apart."""
