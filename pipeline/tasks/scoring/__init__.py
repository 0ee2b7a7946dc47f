"""What scores mean, how good answers are, and how sure that is."""
