"""Training prompts on a frozen backbone: the one loop, pretraining, cohorts, evaluation, choices on dev."""
