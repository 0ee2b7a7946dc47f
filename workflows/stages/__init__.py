"""The stages of a run: what is to be done, what a worker is told and does, how its work is made done."""
