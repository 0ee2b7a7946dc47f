"""`mlflow models serve`, a real process: one task without a line of ours on the caller's side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline.registry import Predictor, PromptRegistry, load_artifact
from tests.once import empty_registry
from tests.registry.made import INTENT, backbone_of, make_artifact
from tests.serve.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["cancel my order now", "the card is lost"]


def test_mlflow_serves_a_registered_task(tmp_path):
    registry = PromptRegistry(empty_registry(tmp_path))
    make_artifact(tmp_path / "a", backbone_of("bert"), seed=5, **INTENT)
    registry.register(tmp_path / "a")
    port, log = free_port(), tmp_path / "log"
    command = [
        "mlflow",
        "models",
        "serve",
        "--model-uri",
        "models:/deepprompt.intent@champion",
        "--env-manager",
        "local",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": registry.uri,
            "PYTHONPATH": str(ROOT),
            "MLFLOW_DISABLE_TELEMETRY": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        cwd=tmp_path,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        told = ask(f"http://127.0.0.1:{port}", process, log)
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)
    expected = Predictor(backbone_of("bert"), {"intent": load_artifact(tmp_path / "a")}).predict(
        [{"text": text} for text in TEXTS]
    )
    for one, other in zip(told["predictions"], expected, strict=True):
        assert one["label"] == other["label"] and one["scores"] == pytest.approx(other["scores"], abs=1e-6)


def ask(url, process, log):
    """The answer to the texts, as soon as the server is up."""
    body = json.dumps({"dataframe_records": [{"text": text} for text in TEXTS]}).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    until = time.monotonic() + 120
    while True:
        assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(f"{url}/ping", timeout=5).close()
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(error.read().decode()[:2000])
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
