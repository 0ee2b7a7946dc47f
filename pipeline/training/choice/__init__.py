"""Choices made on dev: winners, ensembles, and whether a new prompt takes the place of the one in use."""
