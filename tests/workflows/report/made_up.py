"""A run of three tasks with results that nobody computed, and a reader of pages: what tests of the report share."""

from __future__ import annotations

from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

from pipeline.training.world import save_json
from tests.workflows.small import small_config
from workflows.config.load import load_config
from workflows.stages.graph import RunGraph, build_graph
from workflows.stages.stage import begin, commit
from workflows.summary import RunSummary, summarise, task_rows

SECONDS = 83.4
VOID = {"meta", "br", "link", "img"}


def made_up(folder: Path, *overrides: str) -> RunGraph:
    """A run of three tasks on a tiny backbone, with results that nobody computed in its folders."""
    graph = build_graph(load_config(small_config(folder), overrides))
    put(graph, "prepare/same_issue", {"task.json": {"type": "pair"}}, 1.5)
    if "pretrain" in graph.stages:
        put(graph, "pretrain", {"shared.json": {"tasks": ["intent"], "curve": [[10, 1.91], [20, 0.87]]}}, 31.0)
    for place, name in enumerate(graph.config.adapt_tasks):
        trained, scores = results(graph, name, place)
        effort = {"padding": 0.125, "trunk": "built, 4321 bytes"} if place < 2 else {"padding": 0.25, "trunk": ""}
        put(graph, f"adapt/{name}", {"trained.json": trained}, 11.0 + place, effort)
        put(graph, f"evaluate/{name}", {"scores.json": scores}, 2.0)
    return graph


def put(graph: RunGraph, stage: str, files: dict[str, object], seconds: float, summary: dict | None = None) -> None:
    partial = begin(graph.folder, graph.stages[stage], fresh=True)
    for name, value in files.items():
        save_json(partial / name, value)
    commit(graph.folder, graph.stages[stage], summary or {}, seconds)


def results(graph: RunGraph, name: str, place: int) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Candidates that get better with their length and with the shared prompt, those of the middle depth the best and
    those of the deepest cut, and the scores that follow."""
    metric, trained = graph.tasks[name].metric, []
    for one in graph.candidates(name):
        score = 0.5 + 0.031 * place + 0.017 * one.length + 0.113 * (one.start == "shared") - 0.009 * one.seed
        score += {0: 0.0, 1: 0.041, 2: -0.062}[one.first_layer]
        cut, curve = 2 if one.first_layer == 2 else None, [[2, score - 0.1, 1.2], [4, score, 0.9]]
        end = {"step": cut or 4, "curve": curve[: 1 if cut else 2], "cut": cut}
        trained.append({"candidate": asdict(one), "score": score, "loss": 0.9, **end})
    order = sorted(range(len(trained)), key=lambda n: -trained[n]["score"])

    def entry(n: int) -> dict[str, object]:
        return {
            "number": n,
            **trained[n]["candidate"],
            "dev": trained[n]["score"],
            "test": {metric: trained[n]["score"] - 0.023},
        }

    def cell(start: str) -> list[dict[str, object]]:
        mine = [n for n in order if trained[n]["candidate"]["start"] == start and trained[n]["cut"] is None]
        mine = [
            n for n in mine if trained[n]["candidate"]["first_layer"] == trained[mine[0]]["candidate"]["first_layer"]
        ]
        longest = max((trained[n]["candidate"]["length"] for n in mine), default=0)
        return [entry(n) for n in mine if trained[n]["candidate"]["length"] == longest]

    ensemble = {"members": order[:2], "combine": "vote", "dev": 0.901, "test": {metric: 0.877 + place / 100}}
    cells = {start: cell(start) for start in ("shared", "scratch")}
    scratch = cells["scratch"][0] if cells["scratch"] else None
    scores = {"task": name, "metric": metric, "winner": entry(order[0]), "from_scratch": scratch, "cells": cells}
    ensemble = ensemble if graph.config.ensemble else None
    taught = graph.config.ensemble is not None and graph.config.ensemble.distil
    distilled = {**entry(order[0]), "test": {metric: 0.871 + place / 100}} if taught else None
    scores |= {"ensemble": ensemble, "distilled": distilled}
    return trained, {**scores, "intervals": intervals(metric, scores)}


def intervals(metric: str, scores: dict) -> dict[str, object]:
    """As the evaluate stage tells them, made up: lopsided, so that no end is taken for another."""
    names = [name for name in ("winner", "ensemble", "distilled", "from_scratch") if scores[name] is not None]
    at = {name: scores[name]["test"][metric] for name in names}
    return {
        "scores": {name: {"low": value - 0.041, "high": value + 0.023} for name, value in at.items()},
        "over_winner": {n: around(at[n] - at["winner"]) for n in names if n != "winner"},
        "gain": around(0.113) if all(scores["cells"].values()) else None,
    }


def around(difference: float) -> dict[str, float]:
    return {"low": difference - 0.017, "high": difference + 0.029}


def summary_of(graph: RunGraph, failures: dict[str, str] | None = None, **versions: str) -> RunSummary:
    failed = failures or {}
    return summarise(graph, task_rows(graph, failed), failed, versions, SECONDS)


class Page(HTMLParser):
    """What a page refers to, what it runs, its text, and whether its elements nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    @property
    def plain(self) -> str:
        """The text with its white space made single."""
        return " ".join(self.text.split())


class Tables(HTMLParser):
    """The tables of a page, each a list of rows, each a list of its cells' pieces of text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[list[str]]]] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append([])
            self.inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        if self.inside and data.strip():
            self.tables[-1][-1][-1].append(" ".join(data.split()))

    def under(self, *headers: str) -> dict[str, dict[str, list[str]]]:
        """Of the first table with these headers: task → header → pieces of text."""
        for head, *rows in self.tables:
            names = [" ".join(cell) for cell in head]
            if set(headers) <= set(names):
                return {row[0][0]: dict(zip(names, row, strict=False)) for row in rows if row[0]}
        raise AssertionError(f"no table with {headers}")
