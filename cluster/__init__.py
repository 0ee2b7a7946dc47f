"""Where the work runs: in this process, on Ray, or (`cluster.jobs.submit`) as a job sent to a Ray cluster."""

from cluster.launcher import Event, Launcher, Outcome, Pool, WorkFailed
from cluster.opening import make_launcher

__all__ = ["Event", "Launcher", "Outcome", "Pool", "WorkFailed", "make_launcher"]
