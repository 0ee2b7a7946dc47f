"""Where the work runs: in this process, on Ray, or as a job sent to a Ray cluster."""

from cluster.launcher import Event, Launcher, Outcome, Pool, WorkFailed, make_launcher
from cluster.submit import JobResult, submit

__all__ = ["Event", "JobResult", "Launcher", "Outcome", "Pool", "WorkFailed", "make_launcher", "submit"]
