"""Any module can be the first one imported: rooms depend on each other one way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_module_imports_alone():
    code = """
import importlib, sys
from pathlib import Path
own = ("pipeline", "cluster", "workflows")
for room in own:
    for file in sorted(Path(room).rglob("*.py")):
        name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        if file.name in ("__main__.py", "pyfunc_model.py"):  # programs: Python's entry, MLflow's
            continue
        for loaded in [module for module in sys.modules if module.split(".")[0] in own]:
            del sys.modules[loaded]
        importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_library_brings_no_ray_no_deepspeed_no_mlflow():
    code = """
import sys
import pipeline.model, pipeline.registry, pipeline.training.cohort, pipeline.training.pretrain
assert not {"ray", "deepspeed", "mlflow"} & set(sys.modules)
assert not {"cluster", "workflows"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
