"""What must hold of the images and the compose file, where no container engine is at hand to try them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
OWN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def stages() -> dict[str, list[str]]:
    """Each stage's instructions, continued lines joined, by the stage's name; the last one is called `final`."""
    lines = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.startswith("FROM"):
            name = line.partition(" AS ")[2] or "final"
            found[name] = []
        if line.strip():
            found[name].append(line)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def test_hadolint_finds_nothing():
    lint = OWN / "hadolint"
    if not lint.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([str(lint), str(DOCKER / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_base_is_pinned(stages):
    bases = dict(re.findall(r"ARG (\w+)=(\S+)", "\n".join(stages[""])))
    for base in (bases["PYTHON"], bases["CUDA"]):
        assert re.search(r":\d+\.\d+\.\d+-|@sha256:", base), base
    for name, lines in stages.items():
        if name:
            used = lines[0].split()[1]
            assert used.startswith(("${PYTHON}", "${CUDA}", "start-${", "${ACCELERATOR}", "runtime")), used


def test_nobody_runs_as_root(stages):
    assert [line for line in stages["runtime"] if line.startswith("USER")] == ["USER 1000:1000"]
    after = stages["runtime"][stages["runtime"].index("USER 1000:1000") :]
    rest = [*after[1:], *stages["cpu"], *stages["cuda"], *stages["final"]]
    assert not any(line.startswith(("USER", "RUN", "COPY", "ADD")) for line in rest)


def test_what_runs_has_no_compiler_and_what_is_built_needs_none(stages):
    text = "\n".join(stages["runtime"])
    assert not re.search(r"build-essential|g\+\+|gcc|\bpip\b|\bgit\b", text)
    assert "COPY --from=builder /opt/deepprompt /opt/deepprompt" in text
    assert "libgomp1" in text  # what the operator is linked with
    built = "\n".join(stages["builder"])
    assert "DS_BUILD_SHM_COMM=1" in built and "--no-binary deepspeed --no-build-isolation deepspeed" in built
    assert "DS_ACCELERATOR=cpu" in "\n".join(stages["start-cpu"])
    assert "DS_ACCELERATOR=cuda" in "\n".join(stages["start-cuda"])


def test_everything_installed_keeps_to_the_constraints(stages):
    for line in stages["builder"]:
        for command in re.findall(r"\bpip\"? install ([^&|]*)", line):
            assert "--constraint /opt/deepprompt/constraints.txt" in command or '"$DEEPPROMPT_TORCH"' in command, (
                command
            )
    assert re.search(r"DEEPPROMPT_TORCH=torch==\d+\.\d+\.\d+", "\n".join(stages["builder"]))
    assert "deepprompt_install all,server" in "\n".join(stages["builder"])  # which has them by itself
    assert "--constraint" in (ROOT / "workflows" / "install.sh").read_text()


def test_no_secret_is_in_an_image_or_in_what_is_committed(stages, services):
    text = "\n".join(line for lines in stages.values() for line in lines)
    assert not re.search(r"(?i)(password|token|secret|api_key)\s*=", text)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", "**/.env", "tests"} <= set(ignored)
    for service in services.values():
        for key, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|TOKEN|SECRET", key):
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), key  # from outside, and an error when it is not there
    for line in (DOCKER / ".env.example").read_text().splitlines():
        assert line.startswith("#") or line.endswith("=")
    assert "docker/.env" in (ROOT / ".gitignore").read_text().split()


def test_ports_are_open_to_this_machine_only(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert sorted(ports) == ["127.0.0.1:5000:5000", "127.0.0.1:8000:8000", "127.0.0.1:8265:8265"]


def test_every_service_is_watched_and_confined(services):
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"] is True, name
        assert "privileged" not in service and "network_mode" not in service, name
        if name != "client":
            assert service["healthcheck"]["test"][0] == "CMD" and service["restart"] == "unless-stopped", name


def test_services_wait_for_the_health_of_what_they_need(services):
    for name, needed in (("ray-head", "mlflow"), ("ray-worker", "ray-head"), ("serve", "mlflow")):
        assert services[name]["depends_on"][needed] == {"condition": "service_healthy"}


def test_ray_asks_for_a_token_and_mlflow_for_a_password(services):
    for name in ("ray-head", "ray-worker", "client"):
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token"
    command = services["mlflow"]["command"]
    assert "--app-name=basic-auth" in command and "--serve-artifacts" in command
    assert any(word.startswith("--allowed-hosts=") for word in command)
    assert services["mlflow"]["working_dir"] == "/data"  # where its database of users is kept
    # Long enough for a checkpoint after the signal to stop.
    assert int(services["ray-worker"]["stop_grace_period"].rstrip("s")) >= 60


def test_the_product_is_called_as_it_is(services):
    from typer.main import get_command

    from workflows.cli.app import app

    commands = get_command(app).commands
    words = services["serve"]["command"]
    assert words[words.index("--host") + 1] == "0.0.0.0" and words[words.index("--port") + 1] == "8000"
    if "serve" in commands:
        options = {name for parameter in commands["serve"].params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_the_compose_files_fit_the_specification(tmp_path):
    files = [str(DOCKER / "compose.yaml"), str(DOCKER / "compose.cuda.yaml")]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_compose_itself_reads_them():
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("no docker-compose here")
    files = ["-f", str(DOCKER / "compose.yaml"), "-f", str(DOCKER / "compose.cuda.yaml")]
    values = {"MLFLOW_ADMIN_PASSWORD": "a", "MLFLOW_SECRET_KEY": "b", "RAY_AUTH_TOKEN": "c", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([compose, *files, "config"], env=values, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert read["serve"]["image"] == "deepprompt:cuda" and read["mlflow"]["image"] == "deepprompt:cpu"
    del values["RAY_AUTH_TOKEN"]
    done = subprocess.run([compose, *files, "config"], env=values, capture_output=True, text=True)
    assert done.returncode != 0 and "docker/.env" in done.stderr
