"""Schedules for tests, and the real schemas that what they render must fit."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from cluster.schedules import Schedule, parse_cron
from cluster.schedules.names import parse_image

CRDS = Path(__file__).resolve().parents[4] / "shared" / "schemas" / "kuberay"
KINDS = {"RayJob": "rayjobs", "RayCluster": "rayclusters", "RayCronJob": "raycronjobs"}
DIGEST = "sha256:" + "ab" * 32
CONFIG = """\
name: desk
storage: /work/runs
# the help desk's tasks
tasks:
  - {name: intent, type: classification, data: {demo: intent}}
registry: {uri: "http://mlflow:5000"}
"""


def make(target: str, **changes: Any) -> Schedule:
    """A schedule with nothing special about it, but for `changes`."""
    values: dict[str, Any] = {
        "run_name": "desk",
        "cron": parse_cron("0 3 * * *"),
        "zone": None if target in ("cron", "systemd") else "Etc/UTC",
        "config_path": "configs/desk.yaml" if target == "github" else "/srv/deepprompt/desk.yaml",
        "config_text": CONFIG,
        "folder": "/srv/deepprompt",
        "program": ("/opt/deepprompt/venv/bin/deepprompt",),
        "image": parse_image("ghcr.io/acme/deepprompt:1.2"),
    }
    if isinstance(changes.get("cron"), str):
        changes["cron"] = parse_cron(changes["cron"])
    return Schedule(target=target, **(values | changes))


def documents(text: str) -> list[dict[str, Any]]:
    """What a rendered file holds."""
    return list(yaml.safe_load_all(text))


def of_kind(text: str, kind: str) -> dict[str, Any]:
    """The one object of a kind in a rendered file."""
    (found,) = [document for document in documents(text) if document["kind"] == kind]
    return found


def check(document: dict[str, Any]) -> None:
    """Holds a manifest against the real schema of its kind, strictly: a field that does not exist is an error."""
    if document["kind"] in KINDS:
        _check_kuberay(document)
    else:
        kubernetes_validate.validate(document, "1.36", strict=True)


_SCHEMAS: dict[str, jsonschema.Draft202012Validator] = {}


def _check_kuberay(document: dict[str, Any]) -> None:
    kind = document["kind"]
    if not CRDS.is_dir():
        pytest.skip(f"no custom resource definitions of KubeRay at {CRDS}")
    if kind not in _SCHEMAS:
        definition = yaml.load((CRDS / f"ray.io_{KINDS[kind]}.yaml").read_text(), Loader=yaml.CSafeLoader)
        (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
        _SCHEMAS[kind] = jsonschema.Draft202012Validator(_strict(version["schema"]["openAPIV3Schema"]))
    assert document["apiVersion"] == "ray.io/v1"
    _SCHEMAS[kind].validate(document)
    spec = document["spec"]["jobTemplate"] if kind == "RayCronJob" else document["spec"]
    if kind == "RayCluster":
        _check_cluster(spec)
    else:
        _check_job(spec)
        _check_cluster(spec["rayClusterSpec"])


def _strict(schema: Any) -> Any:
    """The API server drops unknown fields without a word; here they are errors."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _strict(value) for key, value in schema.items()}
    closed = "properties" in schema and isinstance(schema["properties"], dict) and schema.get("type") == "object"
    if closed and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema["additionalProperties"] = False
    return schema


def _check_job(spec: dict[str, Any]) -> None:
    """What KubeRay 1.7 refuses beyond its schema (ray-operator/controllers/ray/utils/validation.go)."""
    assert "shutdownAfterJobFinishes" not in spec and "ttlSecondsAfterFinished" not in spec
    last: dict[tuple[str, str], tuple[int, int]] = {}
    order = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
    for rule in spec["deletionStrategy"]["deletionRules"]:
        condition = rule["condition"]
        (by,) = {"jobStatus", "jobDeploymentStatus"} & set(condition)  # exactly one
        rank = order.index(rule["policy"])
        before = last.get((by, condition[by]), (-1, -1))
        assert before[0] < rank and before[1] <= condition["ttlSeconds"]
        last[by, condition[by]] = (rank, condition["ttlSeconds"])
    assert spec["activeDeadlineSeconds"] > 0 and spec["preRunningDeadlineSeconds"] > 0
    assert not set(spec["entrypoint"]) & set(";&|$`\"'\\<>(){}*?#\n")  # pasted into a script as it is


def _check_cluster(spec: dict[str, Any]) -> None:
    """Token authentication as KubeRay takes it: a known Ray from 2.52 on, and not Kubernetes' own tokens for jobs."""
    assert spec["authOptions"]["mode"] == "token" and "enableK8sTokenAuth" not in spec["authOptions"]
    assert tuple(map(int, spec["rayVersion"].split("."))) >= (2, 52)
    for pod in pods(spec):
        template = deepcopy(pod) | {"containers": [container | {"name": "x"} for container in pod["containers"]]}
        kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", "spec": template}, "1.36", strict=True)


def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods' specs of a RayCluster's spec: the head's first."""
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


LONG = timedelta(days=2)
