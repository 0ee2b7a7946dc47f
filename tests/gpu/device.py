"""Where this room's tests run."""

GPU = "cuda"
