"""Plain MLflow answers with a registered prompt, in a new process, to the last digit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pipeline.registry import Predictor, load_artifact
from tests.registry.made import INTENT, SAME, SLOTS, backbone_of, make_artifact

ROOT = Path(__file__).resolve().parents[3]

CALLER = """
import json, sys
import mlflow
import pandas as pd
prefix, rows = sys.argv[1], json.loads(sys.argv[2])
answers = []
for task, some in rows.items():
    model = mlflow.pyfunc.load_model(f"models:/{prefix}.{task}@champion")
    table = model.predict(pd.DataFrame(some, index=range(5, 5 + len(some))))
    assert list(table.index) == list(range(5, 5 + len(some)))
    answers += table.to_dict(orient="records")
from pipeline.registry.predictor import _open
assert _open.cache_info().misses == 1  # the models of a process share their backbone
print(json.dumps(answers))
"""

ROWS = {
    "intent": [{"text": "cancel my order now"}, {"text": "the card is lost", "other": 3}],
    "same": [{"text_a": "my card is lost", "text_b": "lost"}],
    "slots": [{"tokens": ["my", "phone", "today"], "text": None}, {"tokens": None, "text": "a late order please"}],
}


def test_a_new_process_answers_the_same_through_mlflow(registry, tmp_path):
    backbone = backbone_of("bert")
    for task in (INTENT, SAME, SLOTS):
        make_artifact(tmp_path / task["name"], backbone, seed=5, **task)
        registry.register(tmp_path / task["name"])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CALLER, registry.prefix, json.dumps(ROWS)],
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": registry.uri,
            "PYTHONPATH": str(ROOT),
            "MLFLOW_DISABLE_TELEMETRY": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = []
    for task, rows in ROWS.items():
        predictor = Predictor(backbone, {task: load_artifact(tmp_path / task)})
        expected += predictor.predict(rows)
    assert json.loads(done.stdout.splitlines()[-1]) == expected


def test_what_the_first_versions_logged_is_still_found(registry, tmp_path):
    make_artifact(tmp_path / "intent", backbone_of("bert"), seed=5, **INTENT)
    registry.register(tmp_path / "intent")
    now = registry.get("intent")
    now.parent.rename(now.parent.with_name("artifacts"))
    before = registry.get("intent")
    assert before != now
    assert load_artifact(before).manifest == load_artifact(tmp_path / "intent").manifest
