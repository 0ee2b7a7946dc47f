"""Scheduled retraining as files ready to apply: cron, systemd, Kubernetes, KubeRay, GitHub Actions."""

from cluster.schedules.cron import Cron, parse_cron
from cluster.schedules.plan import TARGETS, Schedule
from cluster.schedules.render import render

__all__ = ["TARGETS", "Cron", "Schedule", "parse_cron", "render"]
