"""Prompts for each task: searched, fine-tuning beside them, and one that learns from an ensemble."""
