"""What this machine has and lacks, and what must be there before a run computes."""
