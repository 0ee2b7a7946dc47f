"""A replica: one frozen backbone, the champions of many tasks, and rows of all who ask in one batch."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from ray import serve

from pipeline.errors import InputError
from pipeline.registry import Predictor, PromptRegistry, ReadRow
from workflows.serve.batching import LEAST_WAIT, Pace
from workflows.serve.champions import Champions, Keeper
from workflows.serve.http import make_app
from workflows.serve.limits import Refusal, check_rows, unsound
from workflows.serve.metrics import FOLDER, Metrics
from workflows.serve.settings import Settings

LOG = logging.getLogger(__name__)
MOST_ROWS = 64  # of a batch; a forward pass of more gains nothing on a processor
Waiting = tuple[Predictor, ReadRow]


@serve.ingress()
class Replica:
    """Answers over HTTP; takes in promoted champions while it does.

    No request reaches it before the champions of the moment are loaded: Ray Serve waits for this constructor.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.private:
            _listen_on_loopback()
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.limits = settings.limits
        self.token_sha256 = settings.token_sha256
        self.metrics = Metrics(Path(os.environ[FOLDER]))
        self.keeper = Keeper(PromptRegistry(settings.uri, settings.prefix), settings.model, MOST_ROWS)
        self.pace = Pace(MOST_ROWS)
        self.waiting = 0
        # One thread each, always the same: tokenizers are not shared, and OpenMP keeps a pool per calling thread.
        self._reading, self._computing = (ThreadPoolExecutor(1, name) for name in ("read", "compute"))
        self._free = asyncio.Event()
        self._free.set()
        self._look()
        self._poller = threading.Thread(target=self._poll, args=(settings.poll,), name="poll", daemon=True)
        self._poller.start()

    def __serve_build_asgi_app__(self) -> Any:
        return make_app(self)

    def check_health(self) -> None:
        """Ray Serve replaces a replica that raises."""
        if not self._poller.is_alive():
            raise RuntimeError("nobody looks at the registry any more")

    @property
    def champions(self) -> Champions:
        """What answers now."""
        return self.keeper.current

    async def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to the rows of one request, each with the version that gave it.

        Raises:
            Refusal: see `check_rows`; 422 a row is unsound, 429 too many rows wait, 504 no answer in time.
        """
        champions = self.keeper.current
        named = check_rows(rows, champions, self.limits)
        if self.waiting + len(named) > self.limits.queue:
            found, expected = f"{self.waiting} rows", f"at most {self.limits.queue}"
            raise Refusal(429, InputError("too many rows wait", found=found, expected=expected), retry_after=1)
        self._count(len(named))
        try:
            loop = asyncio.get_running_loop()
            read = await loop.run_in_executor(self._reading, _read, named, champions)
            async with asyncio.timeout(self.limits.seconds):
                answers = await asyncio.gather(*map(self._answer, read))
        except InputError as error:
            raise unsound(error) from error
        except TimeoutError as error:
            what = f"no answer within {self.limits.seconds:g} seconds"
            raise Refusal(504, InputError(what), retry_after=5) from error
        finally:
            self._count(-len(named))
        told = []
        for row, answer in zip(named, answers, strict=True):
            served = champions.served[row["task"]]
            self.metrics.rows.labels(served.task, served.alias).inc()
            told.append({**answer, "task": served.task, "alias": served.alias, "version": served.version})
        return told

    def _count(self, rows: int) -> None:
        self.waiting += rows
        self.metrics.waiting.set(self.waiting)

    async def _answer(self, row: Waiting) -> dict[str, Any]:
        # Ray closes its batches by the clock, also while the model is busy and cannot take them yet. Rows that wait
        # here until it is free join one batch instead.
        await self._free.wait()
        return await self._together(row)  # type: ignore[no-any-return]

    @serve.batch(max_batch_size=MOST_ROWS, batch_wait_timeout_s=LEAST_WAIT)  # type: ignore[untyped-decorator]
    async def _together(self, rows: list[Waiting]) -> list[dict[str, Any]]:
        self._free.clear()
        began = time.perf_counter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._computing, _compute, rows)
        finally:
            self._free.set()
            self._learn(rows, time.perf_counter() - began)

    def _learn(self, rows: Sequence[Waiting], seconds: float) -> None:
        before = self.pace.rows
        self.pace.learn(len(rows), seconds)
        self._together.set_batch_wait_timeout_s(self.pace.wait)
        if self.pace.rows != before:
            self._together.set_max_batch_size(self.pace.rows)
        self.metrics.batch_rows.observe(len(rows))
        self.metrics.batch_tasks.observe(len({row.name for _, row in rows}))
        self.metrics.batch_seconds.observe(seconds)

    def _poll(self, seconds: float) -> None:
        while True:
            time.sleep(seconds)
            self._look()

    def _look(self) -> None:
        up = True
        try:
            if self.keeper.refresh():
                self.metrics.swaps.inc()
                LOG.info("serving %s", {name: one.version for name, one in self.champions.served.items()})
        except InputError as error:
            up = False
            LOG.warning("the registry does not answer, what was there goes on answering: %s", error.message)
        except Exception:
            up = False
            LOG.exception("the registry could not be looked at, what was there goes on answering")
        self.metrics.champions(self.keeper, up=up)


def _listen_on_loopback() -> None:
    """Ray opens every replica's port for other deployments on all interfaces and unpickles what comes there; there is
    no setting for it. It does so when the constructor is done."""
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, place: bind(server, place.replace("[::]", "127.0.0.1"))


def _read(rows: list[dict[str, Any]], champions: Champions) -> list[Waiting]:
    """Every row with the predictor that read it and will answer it."""
    predictors = [champions.served[row["task"]].predictor for row in rows]
    if len(set(map(id, predictors))) == 1:
        return [(predictors[0], row) for row in predictors[0].read(rows)]
    read: list[Waiting] = []
    for number, (predictor, row) in enumerate(zip(predictors, rows, strict=True), start=1):
        try:
            (one,) = predictor.read([row])
            read.append((predictor, one))
        except InputError as error:
            raise error.at((error.where or "row 1").replace("row 1", f"row {number}", 1)) from error
    return read


def _compute(rows: list[Waiting]) -> list[dict[str, Any]]:
    """One forward pass; two where some rows were read before a swap and some after it."""
    answers: list[dict[str, Any]] = [{} for _ in rows]
    predictors = {id(predictor): predictor for predictor, _ in rows}
    for key, predictor in predictors.items():
        own = [place for place, (other, _) in enumerate(rows) if id(other) == key]
        for place, answer in zip(own, predictor.answer([rows[place][1] for place in own]), strict=True):
            answers[place] = answer
    return answers
