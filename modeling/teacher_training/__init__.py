"""How a teacher is trained: recipes, augmentation, the loop."""
