"""The results table: methods on real tasks of every type, PEFT's beside ours, fine-tuning as the ceiling."""
