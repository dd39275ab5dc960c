"""Training and applying a teacher."""
