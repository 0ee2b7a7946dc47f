"""One shared prompt, trained on many tasks."""
