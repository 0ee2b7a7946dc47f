"""Answering rows with artifacts: the champions of many tasks, and every member of their ensembles, in one forward pass.

Each row stands in the batch once per member of its task; nothing but the prompt's index and the head's differs, and
what lies below the members' prompts is computed once. So a batch may mix tasks, prompt lengths, depths and ensembles,
and every row gets what it would get alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.backbone import Backbone, load_backbone
from pipeline.errors import InputError, InputErrors, nearest, raise_all
from pipeline.model import PromptedModel, bank_on
from pipeline.model.writing import write
from pipeline.prompts import COMBINATIONS, parse_layout
from pipeline.registry.artifact import Artifact, check_backbone
from pipeline.registry.identity import BackboneIdentity
from pipeline.registry.rows import RowReader
from pipeline.tasks import Decoding, Example, Head, HeadBank, collate, length_batches
from pipeline.tasks.types.generation import question

TOKENS_PER_FORWARD = 8192
"""Of the widest batch before its rows are repeated per member: long rows share batches with fewer others."""
_TOLD = 10  # mistakes in rows told at once


@dataclass(frozen=True)
class ReadRow:
    """A row that nothing speaks against.

    Args:
        name: of its task. canonical: its fields under our names. encoded: as `collate` wants it.
    """

    name: str
    canonical: Mapping[str, Any]
    encoded: Example


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
        for name, artifact in artifacts.items():
            manifest = artifact.manifest
            if manifest.task is None:
                raise InputError("a shared prompt answers nothing: it has no head", where=f"artifact {manifest.name!r}")
            check_backbone(artifact, backbone.info)
            self.readers[name] = RowReader(name, artifact, backbone.tokenizer, backbone.info)
        self._group = _Group(backbone, artifacts, {name: reader.head for name, reader in self.readers.items()})

    def predict(
        self, rows: Sequence[Mapping[str, Any]], on_rows: Callable[[int, int], None] | None = None
    ) -> list[dict[str, Any]]:
        """The answers, in the order of the rows.

        Args:
            rows: each with the fields of its task (text; text_a and text_b; tokens, or text split on whitespace;
                question and choices; question and context), and `task` where there are several. Other fields are
                ignored.
            on_rows: hears (rows answered, rows in all).

        Returns:
            `task`, and what its type tells (`TaskType.tell`): for sentences and pairs {"label", "score", "scores":
            {label: probability}}; for sets of labels {"labels", "scores"}; for numbers {"score"}; for words {"tokens",
            "tags", "spans": [{"label", "start", "end", "text"}]}, start and end counting words, end excluded; for
            choices {"label", "choice", "score", "scores"}; for questions {"answer", "start", "end", "score",
            "no_answer"}, start and end counting characters of the context; for what is written {"text"}.

        Raises:
            InputError: a row is unsound; every row is looked at before anything is computed.
        """
        return self.answer(self.read(rows), on_rows)

    def read(self, rows: Sequence[Mapping[str, Any]]) -> list[ReadRow]:
        """The rows checked and tokenised, in their order: all that can be refused about them is refused here.

        Args:
            rows: as in `predict`.

        Raises:
            InputError: a row is unsound.
        """
        names, canonical = self._read(rows)
        read: list[ReadRow | None] = [None] * len(rows)
        for name in dict.fromkeys(names):
            own = [i for i, task in enumerate(names) if task == name]
            encoded = self.readers[name].encode([canonical[i] for i in own], [i + 1 for i in own])
            for i, row in zip(own, encoded, strict=True):
                read[i] = ReadRow(name, canonical[i], row)
        return [row for row in read if row is not None]

    def answer(
        self, rows: Sequence[ReadRow], on_rows: Callable[[int, int], None] | None = None
    ) -> list[dict[str, Any]]:
        """The answers to rows that `read` gave, of one call or of many, in the order of the rows."""
        answers: list[dict[str, Any]] = [{} for _ in rows]
        for done, (i, answer) in enumerate(self._told(rows), start=1):
            answers[i] = self.readers[rows[i].name].answer(rows[i].canonical, rows[i].encoded, answer)
            if on_rows is not None:
                on_rows(done, len(rows))
        return answers

    def _told(self, rows: Sequence[ReadRow]) -> Iterator[tuple[int, Tensor | str]]:
        """(row, its probabilities or its text) for every row: those to be written by how they are written, the others
        all together."""
        how = [self.readers[row.name].writing for row in rows]
        for writing in dict.fromkeys(how):
            own = [i for i, one in enumerate(how) if one == writing]
            names, encoded = [rows[i].name for i in own], [rows[i].encoded for i in own]
            found: Iterator[tuple[int, Tensor | str]]
            if writing is None:
                found = self._group.probabilities(names, encoded, self.rows_per_batch)
            else:
                found = self._group.texts(names, encoded, self.rows_per_batch, writing)
            yield from ((own[n], answer) for n, answer in found)

    def _read(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
        names, canonical, problems = [], [], []
        for number, raw in enumerate(rows, start=1):
            name = self._task_of(raw)
            read = name if isinstance(name, InputError) else self.readers[name].read(raw)
            if isinstance(read, InputError):
                problems.append(read.at(f"row {number}"))
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
    """The prompts of all tasks, in one bank."""

    def __init__(self, backbone: Backbone, artifacts: Mapping[str, Artifact], heads_of: Mapping[str, Head]) -> None:
        self.members: dict[str, range] = {}  # name → its places in the bank, which are those in the head bank
        self.manifests = {name: artifact.manifest for name, artifact in artifacts.items()}
        every = [(artifact.manifest, member) for artifact in artifacts.values() for member in artifact.members]
        for name, artifact in artifacts.items():
            start = self.members[next(reversed(self.members))].stop if self.members else 0
            self.members[name] = range(start, start + len(artifact.members))
        shapes = [heads_of[name] for name, own in self.members.items() for _ in own]
        layouts = [None if manifest.layout is None else parse_layout(manifest.layout) for manifest, _ in every]
        standing = [manifest.sites for manifest, _ in every]
        moving = [manifest.positions == "shifted" for manifest, _ in every]
        bank = bank_on(backbone.info, [member.prompt for _, member in every], layouts, standing, moving)
        heads = HeadBank(shapes, backbone.info.width, [0] * len(every))
        for n, (_, member) in enumerate(every):
            assert member.weight is not None and member.bias is not None
            heads.put(n, member.weight, member.bias, member.bend)
        self.model = PromptedModel(backbone, bank.to(backbone.device), heads.to(backbone.device))
        self.pad = backbone.tokenizer.pad_token_id or 0

    @torch.no_grad()
    def probabilities(
        self, names: Sequence[str], encoded: Sequence[Example], rows_per_batch: int
    ) -> Iterator[tuple[int, Tensor]]:
        """(row, its combined probabilities [A_row, C]) for every row, in no particular order."""
        lengths = [max(len(one["input_ids"]) for one in row) for row in encoded]
        counts = np.array([len(row) for row in encoded])
        for batch in length_batches(lengths, rows_per_batch, sequences=counts, tokens=TOKENS_PER_FORWARD):
            yield from self._batch(names, encoded, batch.tolist())

    @torch.no_grad()
    def texts(
        self, names: Sequence[str], encoded: Sequence[Example], rows_per_batch: int, how: Decoding
    ) -> Iterator[tuple[int, str]]:
        """(row, its text) for every row."""
        rows = [question(row[0]) for row in encoded]
        sizes = [len(row["input_ids"]) + how.max_new_tokens for row in rows]
        for batch in length_batches(sizes, rows_per_batch, tokens=TOKENS_PER_FORWARD // how.beams):
            places = batch.tolist()
            index = [self.members[names[i]].start for i in places]
            held = collate([rows[i] for i in places], prompt=index, head=index, pad_token_id=self.pad)
            yield from zip(places, write(self.model, held.to(self.model.backbone.device), how), strict=True)

    def _batch(
        self, names: Sequence[str], encoded: Sequence[Example], batch: Sequence[int]
    ) -> Iterator[tuple[int, Tensor]]:
        rows = [(r, n) for r, i in enumerate(batch) for n in self.members[names[i]]]
        index = [n for _, n in rows]
        examples = [encoded[i] for i in batch]
        held = collate(examples, example=[r for r, _ in rows], prompt=index, head=index, pad_token_id=self.pad)
        answers = self.model(held.to(self.model.backbone.device))
        by_head = {
            n: self.model.heads.heads[n].scale.logs(logits, unit).exp().cpu()
            for n, logits, unit in zip(answers.heads, answers.logits, answers.unit, strict=True)
        }
        for name in dict.fromkeys(names[i] for i in batch):
            # A head's answers come in the order of its rows, which is the same for all members of a task.
            stacked = torch.stack([by_head[n] for n in self.members[name]])  # [K, A, C]
            combine, votes = self.manifests[name].combine, self.manifests[name].votes
            if votes is not None:
                stacked = stacked.repeat_interleave(torch.tensor(votes), dim=0)
            combined = stacked[0] if combine is None else COMBINATIONS[combine](stacked)  # [A, C]
            own = [i for i in batch if names[i] == name]
            counts: NDArray[np.int64] = np.array([sum(len(one["answer"]) for one in encoded[i]) for i in own])
            yield from zip(own, combined.split(counts.tolist()), strict=True)  # type: ignore[no-untyped-call]


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
