"""A tick in a cluster: made or adopted, never twice, against a server that speaks Kubernetes' API."""

from __future__ import annotations

import json
import re
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from schedule_made import DIGEST, check, make, of_kind

from cluster.schedules import render
from cluster.schedules.kube import KubeApi
from cluster.schedules.rayjob import check_template, exit_code, fire, resolved_image, tick_of
from pipeline.errors import InputError

TICK = int(datetime(2026, 11, 25, 3, tzinfo=UTC).timestamp() // 60)
DONE = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}


class Cluster:
    """Kubernetes as far as a tick knows it: RayJobs by name, one pod, and answers that can be made to fail."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict] = {}
        self.pod: dict = {}
        self.asked: list[tuple[str, str]] = []
        self.broken: list[int] = []  # status codes of the next answers
        self.then: dict | None = DONE  # a RayJob's status from its second reading on
        self.token = None

    def answer(self, method: str, path: str, body: dict | None) -> tuple[int, dict]:
        self.asked.append((method, path))
        if self.broken:
            return self.broken.pop(0), {"message": "not now"}
        if path.startswith("/api/v1/namespaces/team/pods/"):
            return 200, self.pod
        name = path.removeprefix("/apis/ray.io/v1/namespaces/team/rayjobs").partition("?")[0].lstrip("/")
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self.jobs:
                return 409, {"message": "already exists"}
            self.jobs[name] = body
            return 201, body
        if not name:
            return 200, {"items": list(self.jobs.values())}
        if name not in self.jobs:
            return 404, {"message": "not found"}
        if method == "DELETE":
            return 200, self.jobs.pop(name)
        job = self.jobs[name]
        if self.then is not None:
            job["status"] = self.then
        return 200, job


@pytest.fixture
def cluster(tmp_path):
    state = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def handle_all(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            state.token = self.headers["Authorization"]
            code, value = state.answer(self.command, self.path, body)
            text = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = handle_all  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text("first\n")
    state.api = KubeApi(f"http://127.0.0.1:{server.server_port}", "team", tmp_path / "token", sleep=lambda _: None)
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def template():
    (text,) = render(make("k8s")).values()
    return yaml.safe_load(of_kind(text, "ConfigMap")["data"]["rayjob.yaml"])


def tick(cluster, template, job=f"desk-{TICK}", **options):
    said: list[str] = []
    options = {"schedule": "desk", "zone": "Etc/UTC", "say": said.append, "sleep": lambda _: None} | options
    return fire(cluster.api, template, job=job, **options), said


def test_a_tick_makes_a_rayjob_named_and_dated_after_it(cluster, template):
    image = f"ghcr.io/acme/deepprompt@{DIGEST}"
    fired, said = tick(cluster, template, image=image)
    made = cluster.jobs[f"desk-{TICK}"]
    check({key: value for key, value in made.items() if key != "status"})
    assert (fired.exit_code, fired.adopted, fired.as_of) == (0, False, "2026-11-25")
    assert made["spec"]["entrypoint"].endswith(" --as-of 2026-11-25")
    assert len(re.findall(image, json.dumps(made))) == 4  # image and environment of head and worker
    assert "acme/deepprompt:1.2" not in json.dumps(made)
    assert said[0] == f"image {image}"
    assert cluster.token == "Bearer first"


def test_the_next_pod_of_the_same_tick_adopts_it(cluster, template):
    tick(cluster, template)
    fired, said = tick(cluster, template)
    assert fired.adopted and len(cluster.jobs) == 1
    assert any(line.startswith("adopted") for line in said)
    assert [method for method, _ in cluster.asked].count("POST") == 1


def test_two_pods_at_once_make_one(cluster, template):
    real = cluster.answer

    def late(method, path, body):
        if method == "POST":  # the other pod was faster
            cluster.answer = real
            real(method, path, body)
        return real(method, path, body)

    cluster.answer = late
    fired, _ = tick(cluster, template)
    assert fired.adopted and fired.exit_code == 0 and len(cluster.jobs) == 1


def _earlier(cluster, template, status=RUNNING):
    cluster.then = None
    tick(cluster, template, job=f"desk-{TICK - 1440}", wait=False)
    cluster.jobs[f"desk-{TICK - 1440}"]["status"] = dict(status)


def test_forbid_skips_and_says_why(cluster, template):
    _earlier(cluster, template)
    fired, said = tick(cluster, template)
    assert (fired.status, fired.exit_code) == ("skipped", 0)
    assert said[-1] == f"SKIP reason=overlap running=desk-{TICK - 1440}"
    assert len(cluster.jobs) == 1


def test_replace_deletes_the_earlier_one(cluster, template):
    _earlier(cluster, template)
    cluster.then = DONE
    fired, _ = tick(cluster, template, overlap="replace")
    assert fired.exit_code == 0 and list(cluster.jobs) == [f"desk-{TICK}"]


def test_queue_waits_for_it(cluster, template):
    _earlier(cluster, template)

    def later(_: float) -> None:
        cluster.jobs[f"desk-{TICK - 1440}"]["status"] = DONE
        cluster.then = DONE

    fired, said = tick(cluster, template, overlap="queue", sleep=later)
    assert fired.exit_code == 0 and len(cluster.jobs) == 2
    assert said[1] == f"waiting for desk-{TICK - 1440}"


def test_one_that_has_ended_stands_in_nobodys_way(cluster, template):
    _earlier(cluster, template, DONE)
    cluster.then = DONE
    assert tick(cluster, template)[0].status == "Complete"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (DONE, 0),
        ({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed",
          "message": "Job entrypoint command failed with exit code 3, last available logs (truncated"}, 3),
        ({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "failed with exit code 2, last"}, 2),
        ({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "failed with exit code -9, last"}, 1),
        ({"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "DeadlineExceeded"}, 1),
        ({"jobDeploymentStatus": "Failed", "reason": "PreRunningDeadlineExceeded", "message": None}, 1),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, 130),
    ],
)  # fmt: skip
def test_the_exit_code_is_the_runs_own(status, code):
    assert exit_code(status) == code


def test_a_stopped_run_leaves_no_cluster_behind(cluster, template):
    cluster.then = {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}
    fired, _ = tick(cluster, template)
    assert fired.exit_code == 130 and cluster.jobs == {}


def test_a_deleted_rayjob_ends_the_waiting(cluster, template):
    cluster.then = RUNNING
    fired, _ = tick(cluster, template, sleep=lambda _: cluster.jobs.clear())
    assert (fired.status, fired.exit_code) == ("deleted", 130)


def test_a_server_that_is_upgraded_is_waited_for(cluster, template):
    cluster.broken = [503, 500, 429]
    assert tick(cluster, template)[0].exit_code == 0


def test_a_refusal_is_the_users_to_mend_and_not_repeated(cluster, template):
    for code, words in ((403, "forbids"), (422, "refuses")):
        cluster.broken, cluster.asked = [code], []
        with pytest.raises(InputError, match=words):
            tick(cluster, template)
        assert len(cluster.asked) == 1


@pytest.mark.parametrize(
    ("job", "zone", "date"),
    [
        (f"desk-{TICK}", "Etc/UTC", "2026-11-25"),
        (f"desk-{TICK}", "America/Los_Angeles", "2026-11-24"),  # three in the morning in London
        ("desk-by-hand", "Etc/UTC", "2027-01-02"),
        ("desk-1", "Etc/UTC", "2027-01-02"),  # by hand too: not the first minute of 1970
        (f"other-{TICK}", "Etc/UTC", "2027-01-02"),
    ],
)
def test_a_tick_keeps_its_date_however_late_it_runs(job, zone, date):
    assert tick_of(job, "desk", zone, datetime(2027, 1, 2, 12, tzinfo=UTC)).isoformat() == date


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (f"docker-pullable://acme/deepprompt@{DIGEST}", f"acme/deepprompt@{DIGEST}"),
        (f"ghcr.io/acme/deepprompt@{DIGEST}", f"ghcr.io/acme/deepprompt@{DIGEST}"),
        (DIGEST, None),  # loaded onto the node by hand: no registry knows it
        ("", None),
    ],
)
def test_the_image_is_what_the_node_pulled(cluster, told, found):
    cluster.pod = {"status": {"containerStatuses": [{"imageID": told}]}}
    assert resolved_image(cluster.api, "pod-1") == found


def test_a_token_that_was_renewed_is_used(cluster, template, tmp_path):
    (tmp_path / "token").write_text("second")
    tick(cluster, template)
    assert cluster.token == "Bearer second"


def test_outside_a_pod_it_says_so(tmp_path):
    with pytest.raises(InputError, match="works in a pod"):
        KubeApi.of_this_pod({}, tmp_path)


@pytest.mark.parametrize("document", [None, [], {"kind": "Job"}, {"kind": "RayJob"}, {"kind": "RayJob", "spec": {}}])
def test_another_manifest_is_refused(document):
    with pytest.raises(InputError, match="no RayJob"):
        check_template(document, "file.yaml")
