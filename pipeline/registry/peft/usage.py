"""The README of an exported adapter: code that loads it and gives the logits that deepprompt gives."""

from __future__ import annotations

from pathlib import Path

from pipeline.backbone.positions import ROBERTA_LIKE
from pipeline.registry.manifest import Manifest
from pipeline.registry.peft.names import DECODERS
from pipeline.tasks import TASK_TYPES
from pipeline.tasks.types import TaskType
from pipeline.tasks.types.srl import MARKER

_CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}
_READ = {
    "mean": "mask = rows['attention_mask'][..., None]\nscores = (logits * mask).sum(1) / mask.sum(1)",
    "first": "scores = logits[:, 0]",
    "last": "last = rows['attention_mask'].sum(1) - 1\nscores = logits[torch.arange(len(last)), last]",
    "tokens": "scores = logits",
    "sequence": "scores = logits",
}
_SHAPE = {"tokens": "[B, T, {c}]: of each token of a row"}
_ROWS = {
    "choice": [
        "questions = ['a question', 'another question']",
        "choices = [['one answer', 'another'], ['one answer', 'another', 'a third']]",
        "# A row for each choice: the question before it.",
        "texts = [question for question, own in zip(questions, choices) for _ in own]",
        "others = [choice for own in choices for choice in own]",
    ],
    "srl": [
        "sentences = [['the', 'words'], ['of', 'a', 'row']]",
        "predicates = [1, 0]  # the word of each sentence that roles are asked of, counted from 0",
        "# A row is two texts: the predicate, then the sentence with the predicate between markers.",
        "asked = list(zip(sentences, predicates))",
        "texts = [[words[p]] for words, p in asked]",
        f"others = [[*words[:p], {MARKER!r}, words[p], {MARKER!r}, *words[p + 1 :]] for words, p in asked]",
    ],
}
"""Of the types whose rows are not their columns as they are: how `texts` and `others` are made."""


def usage(manifest: Manifest, folder: Path, base: str, places: int, task_type: str, reading: str) -> str:
    """The text, markdown.

    Args:
        base: the backbone as transformers finds it. places: P. task_type, reading: see `write.Exported`.
    """
    assert manifest.task is not None
    kind, family, deep = TASK_TYPES[manifest.task.type], manifest.backbone.family, manifest.layout is None
    count, labels = len(manifest.task.labels), list(manifest.task.labels)
    sizes = "" if task_type == "QUESTION_ANS" else f", num_labels={count}"
    two = ["texts", "others"] if kind.pair else ["texts"]
    words = ", is_split_into_words=True" if kind.words else ""
    lines = [
        "import torch",
        "from peft import PeftModel",
        f"from transformers import {_CLASSES[task_type]}, AutoTokenizer",
        "",
        f"base, adapter = {base!r}, {str(folder.absolute())!r}",
        f"labels = {labels!r}",
        *_rows(kind),
        "tokenizer = AutoTokenizer.from_pretrained(base, padding_side='right')",
        f"model = {_CLASSES[task_type]}.from_pretrained(base{sizes})",
        *(_PADDING if family in DECODERS else []),
        "model = PeftModel.from_pretrained(model, adapter).eval()",
        *(_blanks(two) if kind.words and family != "bert" else []),
        f"rows = tokenizer({', '.join(two)}, padding=True, return_tensors='pt'{words})",
    ]
    extra = ""
    if deep and manifest.positions == "own":
        lines += [
            f"# The prompt takes no positions; PEFT adds its length, {places}, to those it is given.",
            "own = rows['attention_mask']",
        ]
        start = "(own.cumsum(1) * own + model.config.pad_token_id)" if family in ROBERTA_LIKE else "(own.cumsum(1) - 1)"
        lines.append(f"positions = {start} - {places}")
        extra = ", position_ids=positions"
    lines += ["with torch.no_grad():", f"    answer = model(**rows{extra})"]
    if task_type == "QUESTION_ANS":
        lines.append("logits = torch.stack([answer.start_logits, answer.end_logits], dim=-1)")
    else:
        lines.append("logits = answer.logits")
    if not deep and reading != "sequence":
        lines.append(f"logits = logits[:, {places}:]  # of the row's own tokens")
    lines += [*_READ[reading].splitlines()]
    shape = _SHAPE.get(reading, "[B, {c}]: of each row").format(c=count)
    lines[-1] += f"  # {shape}, one for each of `labels`"
    code = "\n".join(lines)
    return (
        f"# {manifest.name}, as a PEFT adapter\n\n{_about(manifest, places, task_type, reading)}\n\n"
        f"```python\n{code}\n```\n\n`deepprompt import {folder.name}` takes it back into a registry, whole: labels, "
        "metrics and the head are in `deepprompt.json` and `head.safetensors`.\n"
    )


def _rows(kind: TaskType) -> list[str]:
    """Lines that say two rows or more: `texts`, and where the backbone reads two texts of each, `others`."""
    if kind.name in _ROWS:
        return _ROWS[kind.name]
    given = "[['the', 'words'], ['of', 'rows']]" if kind.words else "['a row', 'another row']"
    if not kind.pair:
        return [f"texts = {given}"]
    columns = zip(("texts", "others"), kind.inputs, strict=True)
    return [f"{name} = {given}  # {column} of each row" for name, column in columns]


def _blanks(names: list[str]) -> list[str]:
    """Lines that have words in a list read as in running text, as `split_words_tokenizer` has them."""
    return [
        "words = ['the', 'dog', 'ran']",
        "if tokenizer(' '.join(words))['input_ids'] != tokenizer(words, is_split_into_words=True)['input_ids']:",
        "    # It knows a word's beginning by the blank before it, which words in a list lack.",
        *(f"    {name} = [[f' {{word}}' for word in row] for row in {name}]" for name in names),
    ]


_PADDING = [
    "tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token",
    "model.config.pad_token_id = tokenizer.pad_token_id",
]


def _about(manifest: Manifest, places: int, task_type: str, reading: str) -> str:
    told = (
        f"A prompt of {places} places and its head, exported by deepprompt from artifact {manifest.fingerprint[:12]}."
    )
    if reading in ("mean", "first", "last"):
        told += (
            f" The head reads the {reading} of a row's tokens, which PEFT's classes for sentences do not: it travels "
            f"as {task_type}, one linear map for every token, and the last lines below read the answer off."
        )
    told += _answered(manifest) + _length(manifest)
    if manifest.layout is None:
        told += (
            " The rows' own positions are shifted by the prompt's length, as PEFT does by itself."
            if manifest.positions == "shifted"
            else " The prompt takes no positions, so PEFT has to be told the rows' own, as below; else answers differ."
        )
    return told


def _length(manifest: Manifest) -> str:
    """What deepprompt does with rows that are too long, which the code below leaves as they are."""
    assert manifest.task is not None
    most = "the model reads" if manifest.task.max_tokens is None else f"{manifest.task.max_tokens:,} tokens"
    how = "refuses rows" if manifest.task.too_long == "refuse" else "cuts rows that are"
    if TASK_TYPES[manifest.task.type].windowed:
        how = "reads in overlapping windows what is"
    return f" deepprompt {how} longer than {most}; the code below takes rows as they are."


def _answered(manifest: Manifest) -> str:
    """What the scores below say, where that is not the softmax of a row's."""
    assert manifest.task is not None
    kind, threshold = TASK_TYPES[manifest.task.type], 0.5 if manifest.threshold is None else manifest.threshold
    if kind.several:
        return f" Each label stands by itself: it is an answer where `scores.sigmoid()` is {threshold} or more."
    if kind.answered == "score":
        return " `labels` are the least number and the greatest; the answer is their mean under `scores.softmax(-1)`."
    if kind.name == "choice":
        return " Scores of a question's choices are compared with each other: their softmax says which is right."
    if kind.words:
        marked = " of the second text; the markers answer nothing" if kind.pair else ""
        return f" A word's answer is that of its first token{marked}."
    return ""
