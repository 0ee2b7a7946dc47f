"""The rows of a pretraining step: drawn from the mixture for the whole group, dealt to the ranks, put into passes.

Tasks differ in how long their rows are: side by side in one pass, most of what is computed would be padding (two thirds
of it for thirteen tasks of sentences, pairs and passages). So a step's rows are sorted by length and go through the
backbone in a few passes, whose gradients add up to those of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import torch

from pipeline.tasks import Batch, Example, Mixture, PreparedTask, collate
from pipeline.training.passes.splitting import Size, parts_worth, split

Drawn = tuple[str, int]
"""A task and the number of one of its training rows."""


class MixedRows:
    """One rank's rows of every step, a function of the seed and the step.

    Args:
        tasks: prepared, by name. mixture: draws from them. rows: of a step, over all ranks. rank, size: which rank of
            how many. device: where its passes are wanted.
    """

    def __init__(
        self,
        tasks: Mapping[str, PreparedTask],
        mixture: Mixture,
        rows: int,
        rank: int,
        size: int,
        device: torch.device,
    ) -> None:
        self.tasks = tasks
        self.order = list(tasks)
        self.mixture = mixture
        self.count = rows
        self.rank, self.size = rank, size
        self.device = device
        self.pad_token_id = next(iter(tasks.values())).pad_token_id

    def drawn(self, step: int) -> list[Drawn]:
        """The rows of a step over all ranks."""
        return self.mixture.draw(step, self.count)

    def passes(self, step: int, prompts: Sequence[int], heads: Sequence[int], places: int) -> list[Batch]:
        """This rank's rows of a step.

        All ranks have as many passes: each pass through a sharded backbone is one that all of them make.

        Args:
            prompts, heads: of each task, in their order, the places in the banks. places: P in this step.

        Returns:
            At least one pass; over all passes of all ranks the rows' weights add up to 1.
        """
        drawn = self.drawn(step)
        sizes = self._sizes(drawn, places)
        most = len(drawn) // self.size  # a rank with no row for a pass could not make it
        parts = parts_worth(sizes, self.device.type, most, self.size)
        mine = slice(self.rank, None, self.size)
        own = drawn[mine]
        return [
            self._pass([own[n] for n in part], prompts, heads, 1.0 / len(drawn)) for part in split(sizes[mine], parts)
        ]

    def _sizes(self, drawn: Sequence[Drawn], places: int) -> list[Size]:
        """What rows take of a pass."""
        sizes = []
        for name, row in drawn:
            train = self.tasks[name].encoded["train"]
            sizes.append(Size(int(train.sequences[row]), int(train.lengths[row]) + places))
        return sizes

    def _pass(self, drawn: Sequence[Drawn], prompts: Sequence[int], heads: Sequence[int], weight: float) -> Batch:
        rows: list[Example] = []
        for name, group in groupby(drawn, key=lambda pair: pair[0]):
            rows += self.tasks[name].encoded["train"].take([row for _, row in group])
        task = [self.order.index(name) for name, _ in drawn]
        batch = collate(
            rows,
            prompt=[prompts[k] for k in task],
            head=[heads[k] for k in task],
            pad_token_id=self.pad_token_id,
            weight=[weight] * len(drawn),
        )
        return batch.to(self.device)
