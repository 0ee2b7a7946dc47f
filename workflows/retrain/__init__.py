"""Training again, only what needs it, and only better: decide, lease, adapt, gate. It begins in `retrain`."""
