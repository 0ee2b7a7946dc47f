"""`make_plan`: what a run would do and cost, and all that is wrong with it, without running it.

It reads and encodes the data as the run does (into the same cache) and describes the backbone without loading weights.
No Ray, no DeepSpeed, no MLflow.
"""

from __future__ import annotations

from pipeline.backbone import load_tokenizer
from pipeline.errors import InputError, InputErrors, raise_all
from pipeline.tasks import SPLITS, EncodedSplit, encode_split
from workflows.config.settings import Config
from workflows.doctor.preflight import check_disk, check_tracking
from workflows.plan.planner import Planner, check_trunk
from workflows.plan.records import Plan
from workflows.plan.work import Encoded
from workflows.stages.graph import RunGraph, build_graph

__all__ = ["Plan", "make_plan"]


def make_plan(config: Config) -> Plan:
    """Plans a run.

    Raises:
        InputError: all that is wrong with config, data, backbone, tracking address and disk, at once.
    """
    problems: list[InputError] = []
    graph: RunGraph | None = None
    encoded: Encoded = {}
    registry = ""
    try:
        graph = build_graph(config)
        encoded = encode_tasks(graph)
    except InputError as problem:
        problems += _each(problem)
    try:
        registry = check_tracking(config.registry.uri)
        check_disk(config.run_folder, 0)
        check_trunk(config, 0)
    except InputError as problem:
        problems.append(problem)
    raise_all(problems)
    assert graph is not None
    return plan_of(graph, encoded, registry)


def plan_of(graph: RunGraph, encoded: Encoded, registry: str) -> Plan:
    """The plan of a checked run whose rows are encoded; `registry` is what was found at its address."""
    return Planner(graph, encoded).plan(registry)


def encode_tasks(graph: RunGraph) -> Encoded:
    """The encoded splits of the tasks in use, as `prepare` will have them."""
    tokenizer = load_tokenizer(graph.info)
    problems: list[InputError] = []
    encoded: dict[str, dict[str, EncodedSplit]] = {}
    for name, task in graph.tasks.items():
        if f"prepare/{name}" not in graph.stages:
            continue
        try:
            encoded[name] = {
                split: encode_split(
                    task,
                    split,
                    tokenizer,
                    context=graph.text_context,
                    cache_dir=graph.config.cache_folder,
                    predicts=graph.info.predicts,
                )
                for split in SPLITS
            }
        except InputError as problem:
            problems += _each(problem)
    raise_all(problems)
    return encoded


def _each(problem: InputError) -> list[InputError]:
    return problem.problems if isinstance(problem, InputErrors) else [problem]
