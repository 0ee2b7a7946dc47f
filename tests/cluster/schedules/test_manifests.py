"""What is rendered for Kubernetes, against the real schemas and against what operators fall over."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml
from schedule_made import CONFIG, DIGEST, check, documents, make, of_kind, pods

from cluster.schedules import render
from cluster.schedules.names import parse_image
from pipeline.errors import InputError

FULL = {"claim": "work", "secret": "mlflow", "token_secret": "ray-token", "gpus": 2, "overlap": "replace"}


@pytest.mark.parametrize("target", ["k8s", "kuberay"])
@pytest.mark.parametrize("changes", [{}, FULL, {"address": "http://desk-head-svc:8265", "token_secret": "ray"}])
def test_every_manifest_fits_the_real_schema(target, changes):
    for text in render(make(target, **changes)).values():
        for document in documents(text):
            check(document)
            inner = document.get("data", {}).get("rayjob.yaml")
            if inner:
                check(yaml.safe_load(inner))


def test_the_schemas_would_catch_a_field_that_does_not_exist():
    (text,) = render(make("k8s")).values()
    cron_job = of_kind(text, "CronJob")
    cron_job["spec"]["concurrency"] = "Forbid"
    with pytest.raises(Exception, match="concurrency"):
        check(cron_job)
    job = of_kind(render(make("kuberay"))["desk-rayjob.yaml"], "RayJob")
    job["spec"]["ttlSeconds"] = 3
    with pytest.raises(Exception, match="ttlSeconds"):
        check(job)


def test_a_cron_job_does_not_overlap_catches_up_once_and_is_not_started_in_vain():
    (text,) = render(make("k8s", cron="*/5 * * * *", zone="Europe/Rome")).values()
    spec = of_kind(text, "CronJob")["spec"]
    assert spec["timeZone"] == "Europe/Rome" and spec["schedule"] == "*/5 * * * *"
    assert spec["concurrencyPolicy"] == "Forbid"
    # Kubernetes stops a CronJob that missed a hundred starts within this time.
    assert 60 <= spec["startingDeadlineSeconds"] <= 99 * 300
    assert spec["successfulJobsHistoryLimit"] and spec["failedJobsHistoryLimit"]
    job = spec["jobTemplate"]["spec"]
    codes = [rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert {2, 3, 130} <= set(codes[0])
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # the failure policy asks for it
    made = yaml.safe_load(of_kind(text, "ConfigMap")["data"]["rayjob.yaml"])
    assert job["activeDeadlineSeconds"] > 2 * made["spec"]["activeDeadlineSeconds"]


@pytest.mark.parametrize(("overlap", "policy"), [("forbid", "Forbid"), ("queue", "Allow"), ("replace", "Replace")])
def test_the_overlap_policy_is_the_same_at_every_level(overlap, policy):
    (text,) = render(make("k8s", overlap=overlap)).values()
    spec = of_kind(text, "CronJob")["spec"]
    assert spec["concurrencyPolicy"] == policy
    arguments = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--overlap") + 1] == overlap
    made = yaml.safe_load(of_kind(text, "ConfigMap")["data"]["rayjob.yaml"])
    assert made["spec"]["entrypoint"].endswith(f"--if changed --overlap {overlap}")


def test_the_tick_may_do_what_it_must_and_no_more():
    (text,) = render(make("k8s")).values()
    rules = {tuple(rule["resources"]): set(rule["verbs"]) for rule in of_kind(text, "Role")["rules"]}
    assert rules == {("pods",): {"get"}, ("rayjobs",): {"create", "get", "list", "delete"}}
    (text,) = render(make("k8s", address="http://head:8265")).values()
    assert [rule["resources"] for rule in of_kind(text, "Role")["rules"]] == [["pods"]]


def test_no_pod_is_root_or_may_become_it():
    texts = [*render(make("k8s")).values(), *render(make("kuberay")).values()]
    specs = [document["spec"] for text in texts for document in documents(text) if document["kind"] != "ConfigMap"
             and "spec" in document]  # fmt: skip
    found = []
    for spec in specs:
        if "schedule" in spec and "spec" in spec["jobTemplate"]:
            found.append(spec["jobTemplate"]["spec"]["template"]["spec"])
            continue
        spec = spec.get("jobTemplate", spec)
        found += pods(spec.get("rayClusterSpec", spec))
    assert len(found) == 7
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
            assert container["resources"]["limits"]["memory"]


def test_every_way_a_job_can_end_frees_its_cluster():
    job = of_kind(render(make("kuberay"))["desk-rayjob.yaml"], "RayJob")["spec"]
    rules = job["deletionStrategy"]["deletionRules"]
    freed = [rule["condition"] for rule in rules if rule["policy"] == "DeleteCluster"]
    # A run that meets its deadline has Failed as a deployment, and no status of its own.
    assert {(one.get("jobStatus"), one.get("jobDeploymentStatus")) for one in freed} == {
        ("SUCCEEDED", None),
        (None, "Failed"),
    }
    assert job["submissionMode"] == "K8sJobMode"


def test_gpus_volume_and_secrets_reach_the_pods_that_need_them():
    job = of_kind(render(make("kuberay", **FULL))["desk-rayjob.yaml"], "RayJob")["spec"]
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    head, worker = pods(job["rayClusterSpec"])
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    for pod in (head, worker):
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "mlflow"}}]
        assert {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]} == {"/etc/deepprompt", "/work"}


def test_a_ray_cron_job_states_what_it_lacks():
    text = render(make("kuberay"))["desk-raycronjob.yaml"]
    for lacking in ("Alpha", "RayCronJob=true", "concurrencyPolicy", "startingDeadlineSeconds", "history limits"):
        assert lacking in text
    spec = of_kind(text, "RayCronJob")["spec"]
    assert set(spec) == {"schedule", "timeZone", "suspend", "jobTemplate"}
    assert "TZ" not in spec["schedule"]


def test_the_config_travels_as_it_was_written():
    for text in (*render(make("k8s")).values(), render(make("kuberay"))["desk-rayjob.yaml"]):
        assert of_kind(text, "ConfigMap")["data"]["config.yaml"] == CONFIG
        assert "# the help desk's tasks" in text


def test_a_tag_is_pulled_anew_and_a_digest_is_not():
    for reference, policy in ((f"acme/deepprompt@{DIGEST}", "IfNotPresent"), ("acme/deepprompt:1.2", "Always")):
        (text,) = render(make("k8s", image=parse_image(reference))).values()
        container = of_kind(text, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
        assert (container["image"], container["imagePullPolicy"]) == (reference, policy)


def test_a_standing_cluster_is_submitted_to():
    (text,) = render(make("k8s", address="http://desk-head-svc:8265", token_secret="ray")).values()
    container = of_kind(text, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    wanted = ["submit", "/etc/deepprompt/config.yaml", "--address", "http://desk-head-svc:8265", "--wait"]
    assert container["args"] == wanted
    token = next(one for one in container["env"] if one["name"] == "RAY_AUTH_TOKEN")
    assert token["valueFrom"]["secretKeyRef"] == {"name": "ray", "key": "auth_token"}
    assert "rayjob.yaml" not in of_kind(text, "ConfigMap")["data"]


@pytest.mark.parametrize(
    ("changes", "where", "nearest"),
    [
        ({"namespace": "My_Team"}, "--namespace", "my-team"),
        ({"claim": "Work"}, "--claim", "work"),
        ({"memory": "16GB"}, "--memory", "16Gi"),
        ({"overlap": "forbit"}, "--overlap", "forbid"),
        ({"condition": "change"}, "--if", "changed"),
        ({"zone": "rome"}, "--timezone", "Europe/Rome"),
        ({"zone": None}, "--timezone", None),
        ({"workers": 0}, "--workers", None),
        ({"image": None}, "--image", None),
        ({"mount": "work"}, "--mount", None),
        ({"deadline": timedelta(0)}, "--deadline", None),
        ({"config_text": "x" * 1_000_000}, "CONFIG", None),
        ({"address": "http://admin:secret@head:8265"}, "--address", None),
        ({"address": "head:8265"}, "--address", None),
    ],
)
def test_what_kubernetes_would_refuse_is_told_now(changes, where, nearest):
    with pytest.raises(InputError) as caught:
        make("k8s", **changes)
    assert (caught.value.where, caught.value.nearest) == (where, nearest)
    assert "secret" not in caught.value.message
