"""What a run would do and cost, told before it does: no Ray, no DeepSpeed, no MLflow."""

from workflows.plan.make import make_plan
from workflows.plan.records import Plan

__all__ = ["Plan", "make_plan"]
