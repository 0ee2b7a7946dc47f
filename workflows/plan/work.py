"""What the stages of a run compute: how many tokens go through how many layers, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.tasks import EncodedSplit, Mixture
from pipeline.training.adaptation.halving import training_share
from workflows.plan import estimate
from workflows.plan.estimate import Pass
from workflows.stages.graph import RunGraph

Encoded = Mapping[str, Mapping[str, EncodedSplit]]
_SPLITS_OF_A_SEARCH = ("train", "dev")


class Work:
    """Counts, for one checked and encoded run.

    Args:
        encoded: task → split → its rows.
    """

    def __init__(self, graph: RunGraph, encoded: Encoded) -> None:
        self.graph, self.config, self.info = graph, graph.config, graph.info
        self.encoded = encoded
        self.item = graph.backbone_bytes // graph.info.parameters
        self.among = not self.config.prompt.deep
        self.again = self.config.backbone.checkpointing

    def operations(self, room: str, task: str | None) -> float:
        """Operations of a stage from its beginning; those of preparing and registering do not count."""
        if room == "pretrain":
            pretrain = self.config.pretrain
            assert pretrain is not None
            step, first_layer = self.pretrain_step(), self.graph.first_layer
            below = estimate.below(self.info, step, first_layer)
            trained = estimate.training(self.info, step, self.again)
            taught = trained + estimate.forward(self.info, step) if pretrain.distil else 0.0
            return pretrain.steps * (trained + below + taught)
        if task is None:
            return 0.0
        if room == "adapt":
            return self._adapt(task)
        if room == "ensemble":
            return self._answer(task, "dev", len(self.graph.candidates(task))) + self._distil(task)
        if room != "evaluate":
            return 0.0
        splits = ("dev", "test") if self.graph.tasks[task].kind.written else ("test",)  # texts are written for dev, too
        return sum(self._answer(task, split, self._scored(task)) for split in splits)

    def shares(self, task: str) -> list[float]:
        """For each candidate of a task, the share of its steps that one of its search takes on average."""
        settings, candidates = self.config.adapt_for(task), self.graph.candidates(task)
        shares = [1.0] * len(candidates)
        if settings.halving is None:
            return shares
        for places in self.graph.brackets(task):
            for start in {candidates[n].start for n in places}:
                own = [n for n in places if candidates[n].start == start]
                cells = len({candidates[n].cell for n in own})
                share = training_share(settings.steps, cells, settings.halving.factor)  # each start is cut by itself
                for n in own:
                    shares[n] = share
        return shares

    def trunk_bytes(self, task: str) -> int:
        """Bytes of the activations that a task's search asks for: one vector per token, split and depth."""
        depths = len({layer for layer in self.graph.first_layers(task) if layer > 0})
        tokens = sum(int(self.encoded[task][split].tokens.sum()) for split in _SPLITS_OF_A_SEARCH)
        return tokens * depths * self.info.width * self.item

    def rows(self, task: str, split: str, rows: int | None = None) -> Pass:
        """A batch of `rows`, or a whole split, with the split's mean length."""
        encoded = self.encoded[task][split]
        tokens = float(encoded.tokens.mean())
        return Pass(tokens * (len(encoded) if rows is None else rows), float(encoded.sequence_lengths.mean()), 0)

    def pretrain_step(self) -> Pass:
        """A step of pretraining, over all workers."""
        pretrain = self.config.pretrain
        assert pretrain is not None
        sizes = {name: len(self.encoded[name]["train"]) for name in self.graph.pretrain_stage_tasks}
        rates = Mixture(sizes, pretrain.mixing.exponent, pretrain.mixing.cap, self.config.seed).rates
        mean = sum(rate * float(self.encoded[name]["train"].tokens.mean()) for name, rate in rates.items())
        tokens = float(pretrain.batch_tokens or 0) or float(pretrain.batch_rows or 0) * mean
        return Pass(tokens, mean, self.config.prompt.length, self.graph.first_layer, self.among)

    def _adapt(self, task: str) -> float:
        """Every candidate's training while it is in play, and what lies below the prompts."""
        settings = self.config.adapt_for(task)
        step, dev = self.rows(task, "train", settings.batch_rows), self.rows(task, "dev")
        total = 0.0
        for one, share in zip(self.graph.candidates(task), self.shares(task), strict=True):
            prompt = (one.length, one.first_layer, self.among)
            total += share * estimate.search(
                self.info, step, dev, prompt, settings.steps, settings.evaluate_every, self.again
            )
        deepest = max(self.graph.first_layers(task))
        trunk = self.config.trunk
        if trunk is not None and self.trunk_bytes(task) <= trunk.max_bytes:
            return total + sum(estimate.below(self.info, self.rows(task, s), deepest) for s in _SPLITS_OF_A_SEARCH)
        looks = -(-settings.steps // settings.evaluate_every)
        each_step = settings.steps * estimate.below(self.info, step, deepest)
        return total + each_step + looks * estimate.below(self.info, dev, deepest)

    def _answer(self, task: str, split: str, count: int) -> float:
        """Answers of `count` candidates, the most expensive ones, to a whole split."""
        whole, layers = self.rows(task, split), self.graph.first_layers(task)
        how = self.graph.tasks[task].spec.writing
        if how is not None:  # texts as long as they may be, each token a pass of its own, through all layers
            new = len(self.encoded[task][split]) * how.max_new_tokens * how.beams
            whole, layers = replace(whole, tokens=whole.tokens + new), (0,)
        above = sorted(
            estimate.forward(self.info, Pass(whole.tokens, whole.length, one.length, one.first_layer, self.among))
            for one in self.graph.candidates(task)
        )
        return sum(above[-count:]) + estimate.below(self.info, whole, max(layers))

    def _scored(self, task: str) -> int:
        """How many prompts are scored on test, at most: the winner, the best from scratch, the seeds of each start's
        best cell, the members, and what was distilled from them."""
        ensemble, starts = self.config.ensemble, {one.start for one in self.graph.candidates(task)}
        members = ensemble.size + ensemble.distil if ensemble is not None else 0
        return 2 + len(starts) * self.config.adapt_for(task).seeds + members

    def _distil(self, task: str) -> float:
        """One more prompt's training, at most the longest in all layers that are searched."""
        if self.config.ensemble is None or not self.config.ensemble.distil:
            return 0.0
        settings = self.config.adapt_for(task)
        step, dev = self.rows(task, "train", settings.batch_rows), self.rows(task, "dev")
        prompt = (max(settings.lengths), min(self.graph.first_layers(task)), self.among)
        return estimate.search(self.info, step, dev, prompt, settings.steps, settings.evaluate_every, self.again)
