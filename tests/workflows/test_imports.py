"""Any module can be the first one imported: rooms depend on each other one way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = """
import json, sys
import pipeline.model, pipeline.registry, pipeline.training.adaptation.cohort, pipeline.training.pretraining.pretrain
import pipeline.registry.versions.pyfunc_model
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), flush=True)
"""
EACH = """
import importlib
from pathlib import Path
own = ["pipeline", "cluster", "workflows"]
def loaded(*rooms):
    return [name for name in sys.modules if name.split(".")[0] in rooms]
for place, room in enumerate(own):
    brought = set()
    for file in sorted(Path(room).rglob("*.py"), key=lambda file: (len(file.parts), file.name != "__init__.py", file)):
        name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        if file.name == "__main__.py":  # a program
            continue
        if name in brought:
            continue
        for one in loaded(room):
            del sys.modules[one]
        importlib.import_module(name)
        brought.update(one for one in loaded(room) if one.startswith(name + "."))
        assert not loaded(*own[place + 1 :]), f"{name} imports {loaded(*own[place + 1 :])}"
"""


@pytest.fixture(scope="module")
def imported():
    """A process of its own that imports the library, says what came with it, and then imports each module."""
    return subprocess.run([sys.executable, "-c", LIBRARY + EACH], cwd=ROOT, capture_output=True, text=True)


def test_the_library_brings_no_ray_no_deepspeed_no_mlflow(imported):
    assert imported.stdout, imported.stderr[-2000:]
    brought = set(json.loads(imported.stdout.splitlines()[0]))
    assert {"pipeline", "torch"} <= brought
    assert not {"ray", "deepspeed", "mlflow", "cluster", "workflows"} & brought


def test_every_module_imports_alone(imported):
    """Each room's modules one by one, with nothing of that room loaded and nothing of the rooms above it.

    What a room below has loaded already can only help, and the last line of `EACH` says that it asks for nothing above.
    To import a package's module is to import the package first: those that it brings itself come the same way.
    """
    assert imported.returncode == 0, imported.stderr[-2000:]
