"""The other side: one ordinary PEFT prefix-tuning run on the same encoded rows."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import torch

from pipeline.backbone import describe
from pipeline.tasks import Batch, PreparedTask, collate, length_batches, score
from pipeline.training.loop import Schedule
from tests.benchmarks.device import DEVICE
from tests.benchmarks.search.setting import BATCH, EPOCHS

PLACES, RATE = 16, 1e-2


@dataclass(frozen=True)
class PeftRun:
    """What a run came to: its best dev score, and the model in that state."""

    dev: float
    model: torch.nn.Module

    def test(self, task: PreparedTask) -> float:
        """The score on test."""
        return _score(self.model, task, "test")


def load(task: PreparedTask, dtype: str = "float32") -> torch.nn.Module:
    """MiniLM with a classifier and 16 virtual tokens, as PEFT makes it; on neither side is loading timed."""
    from peft import PrefixTuningConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    labels, folder = len(task.labels), describe("minilm").folder
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels, dtype=getattr(torch, dtype))
    model = get_peft_model(model, PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=PLACES))
    return model.to(DEVICE)


def train(model: torch.nn.Module, task: PreparedTask, epochs: int = EPOCHS) -> PeftRun:
    """Prefix tuning with AdamW, warm-up and linear decay; the best state on dev is kept.

    Rows are padded to the longest of their batch, batches hold rows of similar length, dev is scored once an epoch:
    the same as on our side.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    encoded = task.encoded["train"]
    steps = epochs * -(-len(encoded) // BATCH)
    schedule, step = Schedule(steps, 0.1), 0
    best, kept = -1.0, copy.deepcopy([p.detach() for p in parameters])
    for epoch in range(epochs):
        model.train()
        for indices in length_batches(encoded.lengths, BATCH, seed=epoch):
            for group in optimizer.param_groups:
                group["lr"] = RATE * schedule.factor(step)
            optimizer.zero_grad()
            model(**_inputs(batch := _batch(task, "train", indices)), labels=batch.labels[:, 0]).loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
        found = _score(model, task, "dev")
        if found > best:
            best, kept = found, copy.deepcopy([p.detach() for p in parameters])
    with torch.no_grad():
        for p, value in zip(parameters, kept, strict=True):
            p.copy_(value)
    return PeftRun(best, model)


def _batch(task: PreparedTask, split: str, indices: object) -> Batch:
    rows = task.encoded[split].take(indices)  # type: ignore[arg-type]
    return collate(rows, prompt=[0] * len(rows), head=[0] * len(rows), pad_token_id=task.pad_token_id).to(DEVICE)


def _inputs(batch: Batch) -> dict[str, torch.Tensor | None]:
    mask = batch.attention_mask.long()
    return {"input_ids": batch.input_ids, "attention_mask": mask, "token_type_ids": batch.token_type_ids}


@torch.no_grad()
def _score(model: torch.nn.Module, task: PreparedTask, split: str) -> float:
    model.eval()
    answers: dict[int, str] = {}
    for indices in length_batches(task.encoded[split].lengths, 64):
        logits = model(**_inputs(_batch(task, split, indices))).logits
        answers |= {int(i): task.labels[c] for i, c in zip(indices, logits.argmax(-1).tolist(), strict=True)}
    return score(task.metric, task.gold(split), [answers[i] for i in range(len(answers))])[task.metric]
