"""Submits a RayJob to Kubernetes or adopts the one that is there, and waits for its end.

A CronJob's pod does this when a schedule fires. The RayJob is named after the tick, so a pod that takes the place of a
lost one finds its work going on. What runs is settled here, at that time: the date, and the image by its digest.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cluster.schedules.kube import Gone, KubeApi, Taken
from cluster.schedules.names import NAME, safe_name
from cluster.schedules.render import LABEL
from pipeline.errors import InputError

RAYJOBS = "/apis/ray.io/v1/namespaces/{}/rayjobs"
PODS = "/api/v1/namespaces/{}/pods"
STOPPED = 130
ENDED = ("Complete", "Failed")
POLL_SECONDS = 10.0
RAYJOB_NAME = 47
"""KubeRay's limit: it makes the names of a cluster and its services from it."""


@dataclass(frozen=True)
class Fired:
    """What became of a tick.

    Attributes:
        name: the RayJob's. status: Complete, Failed, skipped, or how it stands when nobody waits.
        exit_code: the run's own where it is known; 130 stopped, 0 skipped.
        adopted: it was there already. image: what runs in it. as_of: the date it retrains for.
    """

    name: str
    status: str
    exit_code: int
    adopted: bool
    image: str
    as_of: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def tick_of(job: str, schedule: str, zone: str, now: datetime | None = None) -> date:
    """The date a tick stands for, in the schedule's zone.

    Args:
        job: the Kubernetes Job's name; a CronJob names it SCHEDULE-<minutes since 1970>, so that a run that was made up
            for later keeps its date. Any other name (made by hand) means today.
    """
    here = ZoneInfo(zone)
    match = re.fullmatch(rf"{re.escape(schedule)}-([0-9]{{8}})", job)
    if match is None:
        return (now or datetime.now(UTC)).astimezone(here).date()
    return datetime.fromtimestamp(int(match[1]) * 60, UTC).astimezone(here).date()


def resolved_image(api: KubeApi, pod: str) -> str | None:
    """The image of a running pod by its digest, as the node has pulled it; None where the node knows none."""
    status = api.get(f"{PODS.format(api.namespace)}/{pod}").get("status", {})
    for container in status.get("containerStatuses", ()):
        found = str(container.get("imageID", "")).rpartition("://")[2]
        if re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", found):
            return found
    return None


def fire(
    api: KubeApi,
    template: Mapping[str, Any],
    *,
    schedule: str,
    job: str,
    zone: str,
    overlap: str = "forbid",
    image: str | None = None,
    wait: bool = True,
    say: Callable[[str], None] = print,
    sleep: Callable[[float], None] = time.sleep,
) -> Fired:
    """One tick: makes the RayJob of this tick or adopts it.

    Args:
        template: a RayJob manifest. schedule: the CronJob's name. job: the Job's name, which names the RayJob.
        overlap: what to do about an earlier tick's RayJob that still runs: forbid skips this one, queue waits for it,
            replace deletes it.
        image: by digest, put into every container; None leaves the template's.
        wait: until it has ended. say: takes a line of progress.

    Raises:
        InputError: Kubernetes refuses the manifest. OSError: it does not answer for long.
    """
    name = safe_name(job, RAYJOB_NAME)
    as_of = tick_of(job, schedule, zone).isoformat()
    manifest = _manifest(template, name, as_of, schedule, image)
    used = _image_of(manifest)
    say(
        f"image {used}"
        + ("" if "@sha256:" in used else " (the node tells no digest: each pod takes what the tag means)")
    )
    jobs = RAYJOBS.format(api.namespace)
    known = _get(api, f"{jobs}/{name}")
    if known is None:
        others = _going(api, jobs, schedule, name)
        if others and overlap == "forbid":
            say(f"SKIP reason=overlap running={','.join(others)}")
            return Fired(name, "skipped", 0, False, used, as_of)
        if others and overlap == "replace":
            for other in others:
                say(f"replacing {other}")
                api.delete(f"{jobs}/{other}")
        while others:
            say(f"waiting for {','.join(others)}")
            sleep(POLL_SECONDS)
            others = _going(api, jobs, schedule, name)
        try:
            known, adopted = api.create(jobs, manifest), False
        except Taken:  # made by another pod in between
            known, adopted = api.get(f"{jobs}/{name}"), True
    else:
        adopted = True
    used = _image_of(known)
    say(f"{'adopted' if adopted else 'made'} rayjob/{name} as of {as_of}")
    before = None
    while True:
        status = known.get("status") or {}
        phase = str(status.get("jobDeploymentStatus") or "New")
        shown = f"{phase} {status.get('jobStatus') or ''}".strip()
        if shown != before:
            say(f"rayjob/{name} {shown}")
        before = shown
        if phase in ENDED:
            code = exit_code(status)
            if code:
                say(f"{status.get('reason') or status.get('jobStatus')}: {_first_line(status.get('message'))}")
            if status.get("jobStatus") == "STOPPED":
                # No deletion rule can name this status: its cluster would stay, and cost, for ever.
                say(f"deleting rayjob/{name}, which was stopped, with its cluster")
                api.delete(f"{jobs}/{name}")
            return Fired(name, phase, code, adopted, used, as_of)
        if not wait:
            return Fired(name, phase, 0, adopted, used, as_of)
        sleep(POLL_SECONDS)
        found = _get(api, f"{jobs}/{name}")
        if found is None:
            say(f"rayjob/{name} was deleted")
            return Fired(name, "deleted", STOPPED, adopted, used, as_of)
        known = found


def exit_code(status: Mapping[str, Any]) -> int:
    """The exit code of a RayJob that has ended: the run's own where Ray tells it."""
    if status.get("jobStatus") == "STOPPED":
        return STOPPED
    if status.get("jobDeploymentStatus") == "Complete" and status.get("jobStatus") in ("SUCCEEDED", None, ""):
        return 0
    told = re.search(r"exit code (-?\d+)", str(status.get("message") or ""))
    code = int(told[1]) if told else 1
    return code if 0 < code < 256 else 1


def _manifest(template: Mapping[str, Any], name: str, as_of: str, schedule: str, image: str | None) -> dict[str, Any]:
    manifest: dict[str, Any] = deepcopy(dict(template))
    metadata, spec = manifest["metadata"], manifest["spec"]
    metadata["name"] = name
    metadata.setdefault("labels", {})[LABEL] = schedule
    metadata.setdefault("annotations", {})["deepprompt/as-of"] = as_of
    spec["entrypoint"] += f" --as-of {as_of}"
    for container in _containers(manifest) if image else ():
        container["image"], container["imagePullPolicy"] = image, "IfNotPresent"
        for variable in container.get("env", ()):
            if variable["name"] == "DEEPPROMPT_IMAGE":
                variable["value"] = image
    return manifest


def _containers(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def _image_of(manifest: Mapping[str, Any]) -> str:
    return str(_containers(manifest)[0]["image"])


def _going(api: KubeApi, jobs: str, schedule: str, name: str) -> list[str]:
    """The schedule's other RayJobs that have not ended."""
    items = api.get(f"{jobs}?labelSelector={LABEL.replace('/', '%2F')}%3D{schedule}").get("items", ())
    return sorted(
        item["metadata"]["name"]
        for item in items
        if item["metadata"]["name"] != name and (item.get("status") or {}).get("jobDeploymentStatus") not in ENDED
    )


def _get(api: KubeApi, path: str) -> dict[str, Any] | None:
    try:
        return api.get(path)
    except Gone:
        return None


def _first_line(text: object) -> str:
    return next(iter(str(text or "no reason was told").splitlines()), "")[:400]


def check_template(document: object, where: str) -> Mapping[str, Any]:
    """A RayJob manifest that `fire` can use.

    Raises:
        InputError: it is something else.
    """
    if isinstance(document, Mapping) and document.get("kind") == "RayJob":
        try:
            _image_of(document)
            if isinstance(document["metadata"], Mapping) and isinstance(document["spec"]["entrypoint"], str):
                return document
        except (KeyError, IndexError, TypeError):
            pass
    expected = "a RayJob with a cluster of its own, as `deepprompt schedule --target k8s` renders it"
    raise InputError("this is no RayJob", where=where, expected=expected)


assert NAME + len("-12345678") <= RAYJOB_NAME
