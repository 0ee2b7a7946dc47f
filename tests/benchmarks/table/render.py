"""The table as Markdown, from what the pieces left: scores, what they cost, and how they stand to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, pstdev
from typing import Any

from tests.benchmarks.table.entries import ENTRIES, METHODS, PEFT, WHOLE, Entry, offered

NAMES = {
    WHOLE: "deepprompt: pretraining, search, ensemble",
    "deep": "deep (P-tuning v2)",
    "prefix": "prefix",
    "prompt_tuning": "prompt tuning",
    "p_tuning": "P-tuning",
    "head": "head alone",
    "finetune": "fine-tuning",
    "peft_prefix": "PEFT prefix",
    "peft_prompt_tuning": "PEFT prompt tuning",
}
Piece = Mapping[str, Any]
Pieces = Mapping[str, Piece]


def render(result: Mapping[str, Any]) -> str:
    """The whole page."""
    pieces, setting = result["pieces"], result["setting"]
    tasks = [one for one in ENTRIES if any(f"{one.name}/{method}" in pieces for method in METHODS)]
    methods = [method for method in METHODS if any(f"{one.name}/{method}" in pieces for one in ENTRIES)]

    def rows(shown: Callable[[Piece], str]) -> list[list[str]]:
        return [
            [f"{one.name} ({one.type})", *(_cell(pieces.get(f"{one.name}/{method}"), shown) for method in methods)]
            for one in tasks
        ]

    heading = ["task", *(NAMES[method] for method in methods)]
    most = setting["rows"]
    parts = [
        "# Methods on real tasks",
        "Made by `python -m tests.benchmarks.table`. MiniLM, stories260K for generation; at most "
        f"{most['train']} rows of train, {most['dev']} of dev and {most['test']} of test. The budget of every method: "
        f"{setting['steps']} steps of {setting['batch']} rows, {setting['places']} places, and one learning rate "
        f"({_rates(pieces)}): of deep prompts and prefix tuning the default, which is two where a text is written, the "
        "better on dev; of the others the best of a few on dev of one task, for all of its kind: sentences, many "
        "classes, words, texts (see table_rates.json). Every choice was made on dev, test was scored once. Mean ± "
        f"deviation over {setting['seeds']} seeds.",
        f"“{NAMES[WHOLE]}” has more than that budget: a pretraining over all the tasks, and a search over lengths and "
        "depths, each from the shared prompt and from scratch, by the product's defaults. Its seconds are a task's "
        f"share of all.{_seeds(pieces, setting)}",
        "## Test",
        _table(heading, rows(_score)),
        "## Against fine-tuning and PEFT",
        _ratios(pieces, tasks, methods),
        "## Trainable parameters",
        "Of the whole way those of the winner, one prompt and its head; the others of its search trained beside it.",
        _table(heading, rows(lambda piece: f"{piece['parameters']['trained']:,}" if "parameters" in piece else "-")),
        "## Seconds of one seed",
        "With ~: measured beside other work. With *: in float32; the others in bfloat16, on processors that compute in "
        "it, in tiles or without. With †: on a GPU. Only figures of one kind compare. Of the whole way "
        "the mean of the seeds whose run was not interrupted.",
        _table(heading, rows(_seconds_of)),
    ]
    missing = {
        NAMES[method]: [
            one.name for one in ENTRIES if offered(one.name, method) and f"{one.name}/{method}" not in pieces
        ]
        for method in METHODS
    }
    if any(missing.values()):
        told = [f"- {method}: {', '.join(tasks)}" for method, tasks in missing.items() if tasks]
        parts += ["## Not measured yet", "\n".join(told)]
    return "\n\n".join(parts) + "\n"


def value(piece: Piece | None) -> float | None:
    """The mean on test; None where there is none. Of the whole way its ensemble, where it has one."""
    return mean(_scores(piece)) if piece is not None and "seeds" in piece else None


def _ratios(pieces: Pieces, tasks: Sequence[Entry], methods: Sequence[str]) -> str:
    """Each method's share of fine-tuning's score, and on how many tasks it is above PEFT's best.

    What is written stands for itself: another backbone, eighty times smaller.
    """
    heading = ["method", "share of fine-tuning, mean (tasks)", "lowest", "share where a text is written"]
    lines = []
    for method in methods:
        shares: dict[bool, list[float]] = {False: [], True: []}
        ahead, compared = 0, 0
        for task in tasks:
            own, ceiling = (value(pieces.get(f"{task.name}/{one}")) for one in (method, "finetune"))
            if own is not None and ceiling:
                shares[task.kind == "texts"].append(own / ceiling)
            theirs = [v for m in PEFT if (v := value(pieces.get(f"{task.name}/{m}"))) is not None]
            if own is not None and theirs:
                compared, ahead = compared + 1, ahead + (own > max(theirs))
        read, written = shares[False], shares[True]
        share, lowest = (f"{mean(read):.3f} ({len(read)})", f"{min(read):.3f}") if read else ("-", "-")
        told = "-" if method in PEFT else f"{ahead} of {compared}"
        lines.append([NAMES[method], share, lowest, f"{mean(written):.3f}" if written else "-", told])
    return _table([*heading, "above PEFT's best"], lines)


def _seeds(pieces: Pieces, setting: Mapping[str, Any]) -> str:
    """What is to be said where the whole way has not been gone with every seed yet."""
    counts = {len(piece["seeds"]) for key, piece in pieces.items() if key.endswith(f"/{WHOLE}")}
    return "" if counts <= {setting["seeds"]} else f" Seeds so far: {min(counts)}."


def _cell(piece: Piece | None, shown: Callable[[Piece], str]) -> str:
    return "" if piece is None else "crashes" if "crashes" in piece else shown(piece)


def _seconds_of(piece: Piece) -> str:
    if piece["seconds"] is None:  # every seed's run was interrupted
        return ""
    marks = ("*" if piece["dtype"] == "float32" else "") + ("†" if piece["device"] == "cuda" else "")
    return f"{'~' if piece['busy'] else ''}{piece['seconds']:.0f}{marks}"


def _score(piece: Piece) -> str:
    scores = _scores(piece)
    return f"{mean(scores):.3f} ± {pstdev(scores):.3f}"


def _scores(piece: Piece) -> list[float]:
    return [one["ensemble"] if one.get("ensemble") is not None else one["test"] for one in piece["seeds"]]


def _rates(pieces: Pieces) -> str:
    """The learning rates that the pieces had, method after method."""
    had: dict[str, set[float]] = {}
    for key, piece in pieces.items():
        if "learning_rate" in piece:
            had.setdefault(key.split("/")[1], set()).add(piece["learning_rate"])
    known = {method: " or ".join(f"{rate:g}" for rate in sorted(had[method])) for method in METHODS if method in had}
    return ", ".join(f"{NAMES[method]} {rates}" for method, rates in known.items())


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---", *("---:" for _ in heading[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
