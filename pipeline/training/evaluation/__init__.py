"""What prompts answer to a split's rows, and how good that is."""
