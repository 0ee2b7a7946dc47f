"""Full fine-tuning, to compare prompts with: the whole backbone trains with the head, on the same rows, steps and looks
at dev as prompts do.

What trains is a copy that nothing else uses: the shared backbone stays as it is. Nothing of it is kept but its scores.
As in Devlin et al. 2019, appendix A: AdamW, a warm-up and a linear fall, dropout as the checkpoint has it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.backbone import Backbone, BackboneInfo, load_tokenizer
from pipeline.backbone.dtypes import DTYPES
from pipeline.backbone.weights import read_weights
from pipeline.tasks import PreparedTask
from pipeline.training.adaptation.cohort import Cohort, CohortSettings
from pipeline.training.adaptation.search import Search
from pipeline.training.candidates import Candidate, Trained
from pipeline.training.evaluation.evaluate import answer_split
from pipeline.training.evaluation.judging import Told
from pipeline.training.evaluation.writing import write_split
from pipeline.training.world import World

FINETUNE = "finetune"
"""Its name among the methods that are compared."""


class Trainable(Backbone):
    """A copy of a backbone, whole and in float32, that trains.

    Args:
        info: the backbone's. dtype: what it multiplies in, the one that the frozen backbone is held in.
    """

    def __init__(self, info: BackboneInfo, dtype: str, device: str | torch.device = "cpu") -> None:
        super().__init__(read_weights(info, "float32").to(device), load_tokenizer(info), info)
        self.model.requires_grad_(True)
        self._multiplies = DTYPES[dtype]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        with self._mixed():
            return super().forward(*args, **kwargs).float()

    def decode(self, *args: Any, **kwargs: Any) -> Tensor:
        with self._mixed():
            return super().decode(*args, **kwargs).float()

    def trained(self) -> list[nn.Parameter]:
        """Everything, an open language-model head included; what it shares with the embeddings is there once."""
        head = [] if self.vocabulary is None else list(self.vocabulary.requires_grad_(True).parameters())
        return list(dict.fromkeys([*self.model.parameters(), *head]))

    def _mixed(self) -> torch.autocast:
        """In mixed precision where the run is; weights change, so none is kept converted."""
        mixed = self._multiplies is not torch.float32
        return torch.autocast(self.device.type, self._multiplies, enabled=mixed, cache_enabled=False)


class FineTuning(Cohort):
    """A cohort of one candidate without a prompt, whose backbone trains with its head.

    Args:
        copy: trained in place. search: of one candidate of no places.
    """

    def __init__(self, copy: Trainable, search: Search, settings: CohortSettings, world: World) -> None:
        if search.task.verbalizer is not None or search.task.kind.written:
            copy.open_vocabulary()
        super().__init__(copy, [search], settings, world)
        self._copy = copy
        self._best: dict[str, Tensor] = {}

    def run(self) -> list[list[Trained]]:
        """Trains; the copy then has the weights that were best on dev."""
        self._copy.model.train()  # dropout, which prompts on a frozen backbone do without
        with torch.random.fork_rng():
            torch.manual_seed(self.searches[0].candidates[0].seed)
            found = super().run()
        self._copy.model.eval()
        self._copy.load_state_dict(self._best)
        self.model.heads.put(0, found[0][0].weight, found[0][0].bias)
        return found

    def told(self, task: PreparedTask, split: str) -> Told:
        """What the trained copy says of a split: probabilities [A, C], or of a task that is written its texts, [R]."""
        if task.kind.written:
            return write_split(self.model, task, split, [(0, 0)])[0]
        rows = self.settings.rows_per_forward
        return answer_split(self.model, task, split, [(0, 0)], rows_per_batch=rows).probabilities[0]

    def _enter(self, s: int) -> None:
        self.active.append(s)
        rate = self.searches[s].candidates[0].learning_rate
        self.trainer.enter(0, [0], rate, also=self._copy.trained())

    def _evaluate(self, s: int) -> None:
        self._copy.model.eval()
        super()._evaluate(s)
        progress = self.searches[s].progress[0]
        if progress.step == self.searches[s].step:  # this look was the best so far
            self._best = {name: value.detach().clone() for name, value in self._copy.state_dict().items()}
        self._copy.model.train()


def bare(learning_rate: float, seed: int) -> Candidate:
    """The candidate that fine-tuning trains: no prompt, and rows that go through every layer."""
    return Candidate("scratch", 0, 0, learning_rate, seed)
