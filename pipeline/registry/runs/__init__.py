"""A run in MLflow, while it goes on and when it is finished."""
