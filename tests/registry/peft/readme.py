"""Artifacts to export, and what the README of an exported one prints: its code is run, not read."""

from __future__ import annotations

import re

import torch

from pipeline.registry import Member, Predictor, save_artifact
from pipeline.tasks import collate
from tests.registry.made import INTENT, facts_of, make_artifact
from tests.registry.peft.adapters import backbone_at, base_of

TEXTS = ["my order is late", "refund", "please cancel the phone order now"]


def made(folder, family, *, method="prefix", lengths=(4,), base=None, **changes):
    """An artifact of random numbers on a tiny backbone, deep or an input prompt in front."""
    backbone = backbone_at(base or base_of(family))
    changes = {"lengths": lengths, **changes}
    if method == "prefix":
        return make_artifact(folder, backbone, **{**INTENT, "method": method, **changes})
    info, draw = backbone.info, torch.Generator().manual_seed(5)
    facts = facts_of(
        backbone, method=method, **{"layout": "front", **{k: changes[k] for k in changes if k != "lengths"}}
    )
    count = len(facts.task.labels)
    prompt, weight, bias = (
        torch.randn(*s, generator=draw) for s in ((lengths[0], info.embedding), (count, info.width), (count,))
    )
    return save_artifact(folder, [Member(prompt, weight, bias)], facts)


def run_readme(folder, **given):
    """Runs the code that the README prints, on these rows or on its own; everything that it names."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for name, value in given.items():
        code, found = re.subn(rf"(?m)^{name} = .*$", lambda _, n=name, v=value: f"{n} = {v!r}", code)
        assert found == 1, f"the code gives no {name} that a reader could put rows of their own in"
    space: dict[str, object] = {}
    exec(code, space)
    return space


def by_the_readme(folder, texts, others=None):
    """The scores and the tokens of these texts, by the README's code."""
    space = run_readme(folder, texts=texts, **({} if others is None else {"others": others}))
    return space["scores"], space["rows"]


@torch.no_grad()
def ours(artifact, family, rows, base=None):
    """Our logits of rows as users give them: [A, C], and the token where each answer is read."""
    predictor = Predictor(backbone_at(base or base_of(family)), {artifact.manifest.name: artifact})
    encoded = [row.encoded for row in predictor.read(rows)]
    index = [0] * len(rows)
    batch = collate(encoded, example=index and list(range(len(rows))), prompt=index, head=index, pad_token_id=0)
    return predictor._group.model(batch).logits[0], batch.answer
