"""What a task is: its specification, its checked rows, their encoding, batches, mixtures and metrics."""

from __future__ import annotations

from pipeline.tasks.batching import IGNORED, Batch, collate, length_batches, token_batches
from pipeline.tasks.encode import encode_split
from pipeline.tasks.encoded import EncodedSplit
from pipeline.tasks.heads import Answers, HeadBank
from pipeline.tasks.load import Task, load_task
from pipeline.tasks.metrics import decode_answers, resolve_metric, score
from pipeline.tasks.mixture import Mixture
from pipeline.tasks.prepared import PreparedTask, prepare_task
from pipeline.tasks.spec import SPLITS, TASK_TYPES, DataSource, TaskSpec, TaskType, check_spec, check_task_name

__all__ = [
    "IGNORED",
    "SPLITS",
    "TASK_TYPES",
    "Answers",
    "Batch",
    "DataSource",
    "EncodedSplit",
    "HeadBank",
    "Mixture",
    "PreparedTask",
    "Task",
    "TaskSpec",
    "TaskType",
    "check_spec",
    "check_task_name",
    "collate",
    "decode_answers",
    "encode_split",
    "length_batches",
    "load_task",
    "prepare_task",
    "resolve_metric",
    "score",
    "token_batches",
]
