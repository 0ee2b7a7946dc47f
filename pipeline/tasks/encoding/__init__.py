"""From checked rows to token ids, and from those to rectangular batches."""
