"""How the rows of a training step go through the backbone: in which passes."""
