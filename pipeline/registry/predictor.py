"""Answering rows with artifacts: the champions of many tasks, and every member of their ensembles, in one forward pass.

Each row stands in the batch once per member of its task; nothing but the prompt's index and the head's differs, and
what lies below the members' prompts is computed once. So a batch may mix tasks, prompt lengths, depths and ensembles,
and every row gets what it would get alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.backbone import Backbone, load_backbone
from pipeline.errors import InputError, InputErrors, nearest, raise_all
from pipeline.model import PromptedModel
from pipeline.prompts import COMBINATIONS, PromptBank, parse_layout
from pipeline.registry.artifact import Artifact, check_backbone
from pipeline.registry.manifest import BackboneIdentity
from pipeline.registry.rows import RowReader
from pipeline.tasks import TASK_TYPES, HeadBank, collate, length_batches

_TOLD = 10  # mistakes in rows told at once


class Predictor:
    """Answers rows of one or many tasks.

    Args:
        backbone: the one that every artifact was made for.
        artifacts: name by which rows call the task → artifact.
        rows_per_batch: rows in one forward pass, before each is repeated per member.

    Raises:
        InputError: an artifact was made for another backbone, or is a shared prompt, which answers nothing.
    """

    def __init__(self, backbone: Backbone, artifacts: Mapping[str, Artifact], rows_per_batch: int = 32) -> None:
        self.backbone = backbone
        self.rows_per_batch = rows_per_batch
        self.readers: dict[str, RowReader] = {}
        groups: dict[str, dict[str, Artifact]] = {}
        for name, artifact in artifacts.items():
            manifest = artifact.manifest
            if manifest.task is None:
                raise InputError("a shared prompt answers nothing: it has no head", where=f"artifact {manifest.name!r}")
            check_backbone(artifact, backbone.info)
            self.readers[name] = RowReader(name, artifact, backbone.tokenizer, backbone.info)
            groups.setdefault(manifest.pooling, {})[name] = artifact  # a model pools one way; in a run all agree
        self._groups = [_Group(backbone, group) for group in groups.values()]

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The answers, in the order of the rows.

        Args:
            rows: each with the fields of its task (text; text_a and text_b; tokens, or text split on whitespace), and
                `task` where there are several. Other fields are ignored.

        Returns:
            For sentences and pairs {"task", "label", "score", "scores": {label: probability}}; for words {"task",
            "tokens", "tags", "spans": [{"label", "start", "end", "text"}]}; start and end count words, end excluded.

        Raises:
            InputError: a row is unsound; every row is looked at before anything is computed.
        """
        names, canonical = self._read(rows)
        encoded: list[dict[str, Any]] = [{} for _ in rows]
        for name, reader in self.readers.items():
            own = [i for i, task in enumerate(names) if task == name]
            if own:
                for i, row in zip(own, reader.encode([canonical[i] for i in own], [i + 1 for i in own]), strict=True):
                    encoded[i] = row
        answers: list[dict[str, Any]] = [{} for _ in rows]
        for group in self._groups:
            own = [i for i, name in enumerate(names) if name in group.members]
            for i, probabilities in group.probabilities(names, encoded, own, self.rows_per_batch):
                answers[i] = self.readers[names[i]].answer(canonical[i], encoded[i], probabilities)
        return answers

    def _read(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
        names, canonical, problems = [], [], []
        for number, raw in enumerate(rows, start=1):
            name = self._task_of(raw)
            read = name if isinstance(name, InputError) else self.readers[name].read(raw)
            if isinstance(read, InputError):
                problems.append(_at_row(number, read))
            elif isinstance(name, str):
                names.append(name)
                canonical.append(read)
        if len(problems) > _TOLD:
            rest = InputError(f"and mistakes in {len(problems) - _TOLD} more rows")
            raise InputErrors([*problems[:_TOLD], rest])
        raise_all(problems)
        return names, canonical

    def _task_of(self, raw: object) -> str | InputError:
        if not isinstance(raw, Mapping):
            return InputError("the row is not an object", found=repr(raw), expected="fields and their values")
        if raw.get("task") is None:
            if len(self.readers) == 1:
                return next(iter(self.readers))
            return InputError("the row names no task", expected=f"task: one of {', '.join(self.readers)}")
        name = raw["task"]
        if not isinstance(name, str) or name not in self.readers:
            close = nearest(str(name), self.readers)
            return InputError("unknown task", found=name, expected=", ".join(self.readers), nearest=close)
        return name


class _Group:
    """Tasks whose prompts share a bank.

    Args:
        artifacts: name → artifact, all of the same pooling.
    """

    def __init__(self, backbone: Backbone, artifacts: Mapping[str, Artifact]) -> None:
        self.members: dict[str, range] = {}  # name → its places in the bank, which are those in the head bank
        self.manifests = {name: artifact.manifest for name, artifact in artifacts.items()}
        every = [(artifact.manifest, member) for artifact in artifacts.values() for member in artifact.members]
        for name, artifact in artifacts.items():
            start = self.members[next(reversed(self.members))].stop if self.members else 0
            self.members[name] = range(start, start + len(artifact.members))
        first = every[0][0]
        classes, kinds = [], []
        for manifest, _ in every:
            assert manifest.task is not None
            classes.append(len(manifest.task.labels))
            kinds.append(TASK_TYPES[manifest.task.type].head)
        layouts = [None if manifest.layout is None else parse_layout(manifest.layout) for manifest, _ in every]
        bank = PromptBank([member.prompt for _, member in every], backbone.info.layers, layouts)
        heads = HeadBank(classes, backbone.info.width, [0] * len(every), kinds)
        for n, (_, member) in enumerate(every):
            assert member.weight is not None and member.bias is not None
            heads.put(n, member.weight, member.bias)
        self.model = PromptedModel(backbone, bank.to(backbone.device), heads.to(backbone.device), first.pooling)
        self.pad = backbone.tokenizer.pad_token_id or 0

    @torch.no_grad()
    def probabilities(
        self, names: Sequence[str], encoded: Sequence[Mapping[str, Any]], own: Sequence[int], rows_per_batch: int
    ) -> Iterator[tuple[int, Tensor]]:
        """(row, its combined probabilities [A_row, C]) for the rows `own`, in no particular order."""
        lengths = [len(encoded[i]["input_ids"]) for i in own]
        for places in length_batches(lengths, rows_per_batch) if own else []:
            yield from self._batch(names, encoded, [own[place] for place in places])

    def _batch(
        self, names: Sequence[str], encoded: Sequence[Mapping[str, Any]], batch: Sequence[int]
    ) -> Iterator[tuple[int, Tensor]]:
        rows = [(r, n) for r, i in enumerate(batch) for n in self.members[names[i]]]
        index = [n for _, n in rows]
        examples = [encoded[i] for i in batch]
        held = collate(examples, example=[r for r, _ in rows], prompt=index, head=index, pad_token_id=self.pad)
        answers = self.model(held.to(self.model.backbone.device))
        by_head = {n: logits.softmax(-1).cpu() for n, logits in zip(answers.heads, answers.logits, strict=True)}
        for name in dict.fromkeys(names[i] for i in batch):
            # A head's answers come in the order of its rows, which is the same for all members of a task.
            stacked = torch.stack([by_head[n] for n in self.members[name]])  # [K, A, C]
            combine, votes = self.manifests[name].combine, self.manifests[name].votes
            if votes is not None:
                stacked = stacked.repeat_interleave(torch.tensor(votes), dim=0)
            combined = stacked[0] if combine is None else COMBINATIONS[combine](stacked)  # [A, C]
            own = [i for i in batch if names[i] == name]
            counts: NDArray[np.int64] = np.array([len(encoded[i]["answer"]) for i in own])
            yield from zip(own, combined.split(counts.tolist()), strict=True)  # type: ignore[no-untyped-call]


def _at_row(number: int, problem: InputError) -> InputError:
    return InputError(
        problem.what,
        where=f"row {number}",
        found=problem.found,
        expected=problem.expected,
        nearest=problem.nearest,
        hint=problem.hint,
    )


def open_backbone(identity: BackboneIdentity, *, model: str | None = None) -> Backbone:
    """The backbone an artifact was made for, on the GPU if there is one; loaded once per process.

    Args:
        identity: from the manifest.
        model: where it is now, when its folder has moved; its fingerprint must be the same.

    Raises:
        InputError: it cannot be found, or what is there is another one.
    """
    revision = None if identity.revision == "local" else identity.revision
    backbone = _open(model or identity.name, revision, identity.dtype)
    if backbone.info.fingerprint != identity.fingerprint:
        raise InputError(
            "this is another backbone than the artifact was made for",
            where=model or identity.name,
            found=f"fingerprint {backbone.info.fingerprint}",
            expected=f"fingerprint {identity.fingerprint}",
        )
    return backbone


@lru_cache(maxsize=2)
def _open(model: str, revision: str | None, dtype: str) -> Backbone:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_backbone(model, revision=revision, dtype=dtype, device=device)
