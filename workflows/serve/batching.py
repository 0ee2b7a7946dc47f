"""How long rows wait for company, and how many go together: learnt from how the last batches went."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_WAIT, MOST_WAIT = 0.0005, 0.01  # seconds
LEAST_ROWS = 4


@dataclass
class Pace:
    """The size and the wait of the next batch.

    While a batch is computed the rows that arrive wait anyway and then go together (see `Replica`), so a wait only
    matters when the model is free. A lone caller should not wait at all; where there is company, waiting for a fraction
    of what a batch takes is repaid by the batches that are saved.

    Args:
        most: rows of a batch, at most.
        target: seconds that a batch may take; larger ones are made smaller, so that nobody waits long behind them.
    """

    most: int = 64
    target: float = 0.25
    rows: int = 0
    wait: float = LEAST_WAIT
    seconds: float = 0.0
    """What a batch takes, smoothed."""

    def __post_init__(self) -> None:
        self.rows = self.rows or self.most

    def learn(self, rows: int, seconds: float) -> None:
        """Takes a finished batch into account."""
        self.seconds = seconds if not self.seconds else 0.7 * self.seconds + 0.3 * seconds
        if seconds > self.target:
            self.rows = max(LEAST_ROWS, min(self.rows, rows) // 2)
        elif rows >= self.rows and seconds < self.target / 2:
            self.rows = min(self.most, self.rows * 2)
        alone = rows == 1
        self.wait = LEAST_WAIT if alone else max(LEAST_WAIT, min(MOST_WAIT, self.seconds / 4))
