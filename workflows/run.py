"""A run: every stage that is not done yet, in order, each made done as a whole.

Interrupted at any point, the same command goes on: done stages are skipped with the reason, a half-done one continues
from its checkpoint. One task that fails does not fail the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.registry import PromptRegistry
from workflows.config.settings import Config
from workflows.doctor.preflight import check_disk
from workflows.driver import Driver
from workflows.journal import Journal
from workflows.report import REPORT, record_run, write_report
from workflows.stages.graph import RunGraph, build_graph
from workflows.stages.register import Errand, attach_report, register
from workflows.stages.stage import only_run
from workflows.summary import RunSummary, summarise, task_rows

OnEvent = Callable[[Mapping[str, Any]], None]
DISK_NEEDED = 256 << 20
"""Bytes that must be free when a run begins: encoded rows, checkpoints, candidates, Ray's logs."""


def run(
    config: Config,
    *,
    launcher: str | None = None,
    address: str | None = None,
    on_event: OnEvent = lambda event: None,
    log_file: Path | None = None,
) -> RunSummary:
    """Runs what a config describes.

    Args:
        launcher: "inline" or "ray"; None for the config's.
        address: a running Ray cluster.
        on_event: hears of progress.
        log_file: takes what the libraries say.

    Raises:
        InputError: anything wrong in config, data or backbone, before compute starts.
    """
    return run_graph(
        build_graph(config, on_event), launcher=launcher, address=address, on_event=on_event, log_file=log_file
    )


def run_graph(
    graph: RunGraph,
    *,
    launcher: str | None = None,
    address: str | None = None,
    on_event: OnEvent = lambda event: None,
    log_file: Path | None = None,
    errand: Errand | None = None,
) -> RunSummary:
    """Runs a checked graph, as `run` does; `errand` is what it is done for, if for something."""
    began = time.monotonic()
    config = graph.config
    waiting = not all(standing.skipped for standing in graph.standings().values())
    if waiting:
        check_disk(graph.folder, DISK_NEEDED)
        PromptRegistry(config.registry.uri, config.registry.prefix).check()
    log = log_file or graph.folder / "run.log"
    journal = Journal(graph, log, on_event)
    with only_run(graph.folder), journal.kept() if waiting else nullcontext():
        with Driver(graph, launcher or config.launcher, address, journal, log) as driver:
            driver.prepare()
            if waiting:
                journal.write_plan()
            each_task = [partial(driver.each_task, room) for room in ("ensemble", "evaluate")]
            stages: list[Callable[[], None]] = [driver.pretrain, driver.adapt, *each_task]
            for stage in stages:
                stage()
                if waiting:
                    journal.keep()
            rows = task_rows(graph, driver.failures)
            registration = register(graph, rows, driver.answering, journal, errand) if rows else None
        versions = registration.versions if registration is not None else {}
        failures = {**driver.failures, **(registration.failed if registration is not None else {})}
        summary = summarise(graph, rows, failures, versions, time.monotonic() - began)
        summary = replace(summary, gate=dict(registration.gate) if registration is not None else {})
        if waiting:
            record_run(graph, summary)
        summary = write_report(graph, summary)
        if registration is None:
            journal.keep("FAILED")
        else:
            if registration.new:
                attach_report(graph, registration, graph.folder / REPORT)
            journal.finish(registration.run_id, new=registration.new)
        return summary
