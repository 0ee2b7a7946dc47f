"""The other side: PEFT's prefix and prompt tuning on the same encoded rows, batches, steps and looks at dev.

Each task has the head that transformers gives it; PEFT has no multiple choice, so a choice is scored by a sequence
classifier of one output. What PEFT cannot do is told, not worked around.
"""

from __future__ import annotations

import copy
import time
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.backbone import describe, resolve_dtype
from pipeline.tasks import Batch, PreparedTask, collate, length_batches
from pipeline.tasks.scoring.scales import Gold
from pipeline.training.evaluation.evaluate import SplitAnswers
from pipeline.training.evaluation.judging import SplitRows
from pipeline.training.loop import Schedule
from tests.benchmarks.device import DEVICE, settle
from tests.benchmarks.table.entries import BATCH, EVERY, LENGTH, STEPS

HEADS = {
    "classification": ("AutoModelForSequenceClassification", "SEQ_CLS"),
    "pair": ("AutoModelForSequenceClassification", "SEQ_CLS"),
    "choice": ("AutoModelForSequenceClassification", "SEQ_CLS"),
    "token": ("AutoModelForTokenClassification", "TOKEN_CLS"),
    "srl": ("AutoModelForTokenClassification", "TOKEN_CLS"),
    "qa": ("AutoModelForQuestionAnswering", "QUESTION_ANS"),
}
Figures = dict[str, Any]


def load(task: PreparedTask, method: str, seed: int) -> torch.nn.Module:
    """MiniLM with the task's head and virtual tokens, as PEFT makes it."""
    import transformers
    from peft import PrefixTuningConfig, PromptTuningConfig, TaskType, get_peft_model

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    torch.manual_seed(seed)
    head, kind = HEADS[task.type]
    outputs = {} if task.type == "qa" else {"num_labels": len(task.labels)}
    model = getattr(transformers, head).from_pretrained(describe("minilm").folder, **outputs)
    how = PrefixTuningConfig if method == "peft_prefix" else PromptTuningConfig
    return get_peft_model(model, how(task_type=getattr(TaskType, kind), num_virtual_tokens=LENGTH)).to(DEVICE)


def train(task: PreparedTask, method: str, seed: int, rate: float, steps: int = STEPS) -> Figures:
    """One run, with AdamW, warm-up and linear decay; the best state on dev is scored on test.

    A failure of PEFT's is a figure of its own: `crashes`.
    """
    model = load(task, method, seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0, fused=True)
    schedule, encoded, rows = Schedule(steps, 0.1), task.encoded["train"], SplitRows(task, "dev")
    best, kept = -1.0, copy.deepcopy([p.detach() for p in parameters])
    batches: list[Any] = []
    epoch, began = 0, time.monotonic()
    for step in range(steps):
        if not batches:  # the order is that of `Search.rows`
            batches, epoch = length_batches(encoded.lengths, BATCH, seed=epoch)[::-1], epoch + 1
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule.factor(step)
        optimizer.zero_grad()
        try:
            loss = _loss(model, task, _batch(task, "train", batches.pop()))
        except (ValueError, RuntimeError) as error:
            return {"crashes": f"{type(error).__name__}: {str(error)[:100]}"}
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            found = rows.judge(_answers(model, task, "dev")).score
            if found > best:
                best, kept = found, copy.deepcopy([p.detach() for p in parameters])
    settle()
    seconds = time.monotonic() - began
    with torch.no_grad():
        for p, value in zip(parameters, kept, strict=True):
            p.copy_(value)
    threshold = rows.judge(_answers(model, task, "dev")).threshold
    test = SplitRows(task, "test").judge(_answers(model, task, "test"), threshold).score
    counted = sum(p.numel() for p in parameters)
    return {"test": test, "dev": best, "seconds": seconds, "parameters": counted, "rate": rate, "steps": steps}


def _batch(task: PreparedTask, split: str, indices: Any) -> Batch:
    rows = task.encoded[split].take(indices)
    return collate(rows, prompt=[0] * len(rows), head=[0] * len(rows), pad_token_id=task.pad_token_id).to(DEVICE)


def _forward(model: torch.nn.Module, batch: Batch, **labels: Tensor) -> Any:
    """In mixed precision where ours multiplies in bfloat16, too."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask.long(), **labels}
    if batch.token_type_ids is not None:
        inputs["token_type_ids"] = batch.token_type_ids
    with torch.autocast(DEVICE, torch.bfloat16, enabled=resolve_dtype("auto") == "bfloat16"):
        return model(**inputs)


def _loss(model: torch.nn.Module, task: PreparedTask, batch: Batch) -> Tensor:
    """The loss that transformers computes for the task's head; for choices, ours."""
    if task.type == "choice":
        assert batch.targets is not None
        scores = _forward(model, batch).logits.float()
        gold = Gold(batch.labels[:, 0], batch.targets[:, 0, :1])
        loss: Tensor = task.kind.scale.evidence(scores, gold, batch.unit).loss(int(batch.unit[-1]) + 1).mean()
        return loss
    if task.type == "qa":
        assert batch.targets is not None
        first, last = batch.targets.argmax(1).unbind(-1)  # a window without the answer: its first token
        return _forward(model, batch, start_positions=first, end_positions=last).loss.float()
    labels = batch.labels if task.type in ("token", "srl") else batch.labels[:, 0]
    return _forward(model, batch, labels=labels).loss.float()


@torch.no_grad()
def _answers(model: torch.nn.Module, task: PreparedTask, split: str) -> Tensor:
    """Probabilities [A, C] of all answers of a split, in row order."""
    model.eval()
    encoded = task.encoded[split]
    offsets = np.concatenate([[0], np.cumsum(task.answers_per_row(split))])
    logits = torch.zeros(1, int(offsets[-1]), len(task.labels))
    for indices in length_batches(encoded.lengths, 64, sequences=encoded.sequences, tokens=4096):
        batch = _batch(task, split, indices)
        out = _forward(model, batch)
        scores = torch.stack([out.start_logits, out.end_logits], -1) if task.type == "qa" else out.logits
        row, column = batch.answer.nonzero(as_tuple=True)
        place = torch.from_numpy(np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in indices]))
        logits[0, place] = (scores[row] if scores.dim() == 2 else scores[row, column]).float().cpu()
    return SplitAnswers(logits, offsets, task.kind.scale).probabilities[0]
