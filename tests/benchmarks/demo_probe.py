"""How far a linear head on the frozen backbone gets on the demo suite: what prompts have to be better than.

`python -m tests.benchmarks.demo_probe` prints one JSON object; `--out FILE` writes it too. Nothing is asserted.
Logistic regression on MiniLM's hidden states in fp32, mean-pooled for sentences and pairs, per word for tags; its
regularisation is chosen on dev, test is scored once with it.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from pipeline.backbone import Backbone, load_backbone
from pipeline.tasks import DataSource, PreparedTask, TaskSpec, collate, length_batches, load_task, prepare_task
from pipeline.tasks.demo import DEMO_TASKS
from pipeline.training.evaluation.judging import SplitRows
from tests.benchmarks.telling import asking, tell

REGULARISATION = (0.1, 1.0, 10.0)


@torch.no_grad()
def features(backbone: Backbone, task: PreparedTask, split: str) -> np.ndarray:
    """[A, M]: what a head would read at each answer position, in row order."""
    encoded = task.encoded[split]
    found: list[Any] = [None] * len(encoded)
    for indices in length_batches(encoded.lengths, 64):
        zeros = [0] * len(indices)
        batch = collate(encoded.take(indices), prompt=zeros, head=zeros, pad_token_id=task.pad_token_id)
        hidden = backbone(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        for place, index in enumerate(indices):
            whole = hidden[place][batch.attention_mask[place]]
            found[index] = whole.mean(0, keepdim=True) if task.kind.pooled else hidden[place][batch.answer[place]]
    return torch.cat(found).numpy()


def probe(backbone: Backbone, name: str, cache: Path) -> dict[str, Any]:
    """Dev and test scores of the best linear head."""
    spec = TaskSpec(name, DEMO_TASKS[name].type, DataSource(demo=name))
    task = prepare_task(load_task(spec, cache), backbone.tokenizer, context=512, cache_dir=cache)
    x = {split: features(backbone, task, split) for split in ("train", "dev", "test")}

    def score(head: LogisticRegression, split: str) -> float:
        classes = torch.from_numpy(head.predict(x[split]))
        return SplitRows(task, split).judge(torch.nn.functional.one_hot(classes, len(task.labels))).score

    heads = [LogisticRegression(C=c, max_iter=2000).fit(x["train"], task.label_ids("train")) for c in REGULARISATION]
    best = max(heads, key=lambda head: score(head, "dev"))
    rows = len(task.encoded["train"])
    return {
        "metric": task.metric,
        "train_rows": rows,
        "dev": round(score(best, "dev"), 3),
        "test": round(score(best, "test"), 3),
    }


def main() -> None:
    chosen = asking(__doc__).parse_args()
    backbone = load_backbone("minilm")
    with TemporaryDirectory() as cache:
        tasks = {name: probe(backbone, name, Path(cache)) for name in DEMO_TASKS}
    tell({"benchmark": "demo_probe", "tasks": tasks}, chosen.out)


if __name__ == "__main__":
    main()
