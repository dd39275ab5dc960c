"""How a student is trained: targets, loss, recipes, the loop."""
