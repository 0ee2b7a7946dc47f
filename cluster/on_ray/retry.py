"""Which failures of a group are worth another start."""

from __future__ import annotations

from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2.api.exceptions import TrainingFailedError

from cluster.launcher import WorkFailed
from pipeline.errors import InputError


class StopAtLastingErrors(DefaultFailurePolicy):  # type: ignore[misc]  # Ray ships no types
    """Ray's policy (as many restarts as FailureConfig allows), except for errors that would only come again.

    A mistake in the input stays one. So does an error in the code, unless a rank was lost at the same time: then it may
    be a consequence.
    """

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        decision = super().make_decision(training_failed_error)
        if lasting(list(getattr(training_failed_error, "worker_failures", {}).values())):
            return FailureDecision.RAISE
        return decision


def lasting(failures: list[BaseException]) -> bool:
    """Whether ranks that failed in these ways would fail again."""
    if any(isinstance(error, InputError) for error in failures):
        return True
    told = [isinstance(error, WorkFailed) for error in failures]
    return bool(told) and all(told) and any(not error.passing for error in failures if isinstance(error, WorkFailed))
