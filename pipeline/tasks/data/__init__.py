"""Where a task's rows come from, how each one is checked, and how they are kept."""
