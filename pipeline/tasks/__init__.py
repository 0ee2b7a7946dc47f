"""What a task is: its specification, its checked rows, their encoding, batches, mixtures and metrics."""

from __future__ import annotations

from pipeline.tasks.data.load import Task, load_task
from pipeline.tasks.decoding import Decoding
from pipeline.tasks.encoding.batching import IGNORED, Batch, collate, length_batches
from pipeline.tasks.encoding.encode import encode_split
from pipeline.tasks.encoding.encoded import EncodedSplit, Example
from pipeline.tasks.heads import Answers, Head, HeadBank, Pooling, parts_of
from pipeline.tasks.mixture import Mixture
from pipeline.tasks.prepared import PreparedTask, make_head, prepare_task, settled_pooling
from pipeline.tasks.scoring.metrics import score
from pipeline.tasks.scoring.scales import Evidence, Gold
from pipeline.tasks.scoring.verbalizer import Verbalizer
from pipeline.tasks.spec import SPLITS, DataSource, TaskSpec, check_spec, check_task_name
from pipeline.tasks.types import TASK_TYPES, Reading, TaskType

__all__ = [
    "IGNORED",
    "SPLITS",
    "TASK_TYPES",
    "Answers",
    "Batch",
    "DataSource",
    "Decoding",
    "EncodedSplit",
    "Evidence",
    "Example",
    "Gold",
    "Head",
    "HeadBank",
    "Mixture",
    "Pooling",
    "PreparedTask",
    "Reading",
    "Task",
    "TaskSpec",
    "TaskType",
    "Verbalizer",
    "check_spec",
    "check_task_name",
    "collate",
    "encode_split",
    "length_batches",
    "load_task",
    "make_head",
    "parts_of",
    "prepare_task",
    "score",
    "settled_pooling",
]
