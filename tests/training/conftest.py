"""Prepared demo tasks and tiny backbones, made once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from pipeline.backbone import load_backbone
from pipeline.tasks import DataSource, TaskSpec, load_task, prepare_task
from pipeline.tasks.demo import DEMO_TASKS
from tests.families import family_backbone
from tests.once import demo_folder


@cache
def _cache_folder() -> Path:
    return Path(mkdtemp(prefix="deepprompt-cache-"))


@cache
def _backbone(family):
    return load_backbone(family if family == "minilm" else str(family_backbone(family)), attention=["encoder"])


@cache
def _prepared(name, family, rows, room):
    spec = TaskSpec(name=name, type=DEMO_TASKS[name].type, data=DataSource(path=str(demo_folder(name, rows))))
    task = load_task(spec, _cache_folder())
    model = _backbone(family)
    context = None if model.info.context is None else model.info.context - room
    return prepare_task(task, model.tokenizer, context=context, cache_dir=_cache_folder())


@pytest.fixture(scope="session")
def backbone():
    """family → a frozen backbone in fp32."""
    return _backbone


@pytest.fixture(scope="session")
def prepared():
    """(demo task, family, training rows, tokens left for input prompts) → the prepared task, with few rows to ask."""
    return lambda name, family="bert", rows=24, room=0: _prepared(name, family, rows, room)
