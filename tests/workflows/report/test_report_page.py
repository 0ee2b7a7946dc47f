"""The page itself: for every reader, in light and dark, and safe against what others wrote."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from tests.workflows.report.made_up import Page, made_up, summary_of
from workflows.report import write
from workflows.report.advice import Advice
from workflows.report.leaderboard import contest, score_scale
from workflows.report.progress import Missing
from workflows.report.view import report_view
from workflows.report.write import render, render_report

STYLES = Path(write.__file__).parent / "templates" / "styles"


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("run"), "adapt.seeds=2")


class Elements(HTMLParser):
    """Every element of a page with its attributes, and what it stands in."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.all if name == tag]


def test_what_cannot_be_seen_is_said(graph):
    page = Elements(render_report(graph, summary_of(graph)))
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in page.of("svg"))
    assert all(header.get("scope") in ("row", "col") for header in page.of("th"))
    ids = [attributes["id"] for _, attributes in page.all if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page.of("html") == [{"lang": "en"}] and len(page.of("h1")) == len(page.of("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.all if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def colours(scheme: str) -> dict[str, tuple[int, ...]]:
    """The colours of a scheme by name."""
    light, dark = (STYLES / "colours.css").read_text().split("@media (prefers-color-scheme: dark)")
    found = re.findall(r"--([a-z-]+): #([0-9a-f]{6})\b", light if scheme == "light" else dark)
    return {name: tuple(int(value[n : n + 2], 16) for n in (0, 2, 4)) for name, value in found}


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: tuple[int, ...]) -> float:
        parts = [part / 255 for part in colour]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme):
    known = colours(scheme)
    for text in ("ink", "soft", "shared", "scratch", "ensemble", "distilled"):
        for ground in ("page", "card", "accent-card"):
            assert contrast(known[text], known[ground]) >= 4.5, (text, ground)
    assert contrast(known["bad"], known["bad-card"]) >= 4.5 and contrast(known["wait"], known["wait-card"]) >= 4.5
    from workflows.report.depths import _STRONGEST

    share = _STRONGEST / 100
    hottest = tuple(round(share * s + (1 - share) * p) for s, p in zip(known["shared"], known["page"], strict=True))
    assert contrast(known["ink"], hottest) >= 4.5


def test_both_schemes_have_the_same_names():
    light, dark = colours("light"), colours("dark")
    assert set(light) == set(dark) and len(light) >= 12
    used = set(re.findall(r"var\(--([a-z-]+)", "".join(file.read_text() for file in STYLES.glob("*.css"))))
    assert used - {"heat", "grid"} <= set(light)


def test_whatever_others_wrote_is_text(graph):
    bad = "<script>alert('1')</script><img src=x onerror=alert(2)>\" onload=\"x"
    view = report_view(graph, summary_of(graph))
    board = [
        replace(one, row=replace(one.row, task=bad, gate=bad, version=bad), type=bad, combine=bad)
        for one in view["leaderboard"]
    ]
    scale = score_scale(board)
    searches = [(replace(search, task=bad), chart) for search, chart in view["curves"]]
    machine = dict.fromkeys(view["origin"]["machine"], bad) | {"memory": 1}
    view |= {
        "leaderboard": board,
        "ensembles": board,
        "contests": [(one, contest(one, scale)) for one in board],
        "curves": searches,
        "sources": [replace(one, task=bad, origin=bad, licence=bad) for one in view["sources"]],
        "missing": [Missing(bad, (bad,), bad, bad)],
        "advice": [Advice(bad, bad, bad)],
        "origin": {**view["origin"], "machine": machine, "packages": {bad: bad}, "finished": bad},
        "config_text": bad,
        "registry": bad,
    }
    html = render(view)
    page = Page(html)
    assert page.text.count("alert('1')") > 50
    assert not {"script", "img"} & set(page.tags) and not page.handlers
    assert all(reference.startswith("#") for reference in page.references)
