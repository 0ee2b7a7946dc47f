"""What a user runs: config, plan, stages, run, report and the command line."""
