"""Runs as jobs of a Ray cluster: what travels, how it is sent, followed and stopped. No Ray before it connects."""
