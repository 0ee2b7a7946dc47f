"""Sentence-pair tasks of the demo suite: does the reply answer the request, and do two tickets report the same issue.

Shared words say little: a right reply or ticket may share none with the other sentence, and many a wrong one speaks of
the same device, of the same matter, or repeats the question.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.tasks.demo.grammar import Pool, Row, Voice, frames, pool
from pipeline.tasks.demo.words import FAULTS


@dataclass(frozen=True)
class _Aspect:
    """Something one may ask about a device; `{it}` is the device."""

    question: Pool
    indirect: Pool
    answer: Pool


_ASPECTS: dict[str, _Aspect] = {
    "price": _Aspect(
        pool("what does {it} cost | how much is {it} | what is the price of {it} || how much do I pay for {it}"),
        pool("what {it} costs | the price of {it} || how much {it} is"),
        pool("{it} costs {amount} | you pay {amount} for {it} | {it} is {amount} || {it} sells for {amount}"),
    ),
    "date": _Aspect(
        pool(
            "when will {it} arrive | on which day do I get {it} | when do you deliver {it} "
            "|| how soon will {it} be here"
        ),
        pool("when {it} arrives | the delivery date of {it} || on which day {it} comes"),
        pool(
            "{it} arrives on {date} | on {date} {it} will be at your door | expect {it} on {date} "
            "|| {date} is the day for {it}"
        ),
    ),
    "place": _Aspect(
        pool("where can I pick up {it} | in which town is {it} kept | where is {it} || in which shop do I find {it}"),
        pool("where to pick up {it} | where {it} is kept || in which shop {it} is"),
        pool(
            "{it} is in {place} | you can collect {it} in {place} | our shop in {place} has {it} "
            "|| {it} waits in {place}"
        ),
    ),
    "warranty": _Aspect(
        pool("how long is the warranty on {it} | for how long is {it} covered || what guarantee does {it} have"),
        pool("how long the warranty on {it} runs | how long {it} is covered || what guarantee {it} has"),
        pool("{it} is covered for {span} | we repair {it} free for {span} || we vouch for {it} for {span}"),
    ),
    "colour": _Aspect(
        pool("what colour is {it} | in which colours do you sell {it} || which shades of {it} are there"),
        pool("what colour {it} is | in which colours we sell {it} || which shades of {it} there are"),
        pool("{it} is {colour} | we sell {it} in {colour} and {colour2} || you can have {it} in {colour}"),
    ),
    "weight": _Aspect(
        pool("how heavy is {it} | what does {it} weigh || what is the weight of {it}"),
        pool("how heavy {it} is | what {it} weighs || the weight of {it}"),
        pool("{it} weighs {weight} | on the scales {it} shows {weight} || {it} is a matter of {weight}"),
    ),
    "person": _Aspect(
        pool("who will repair {it} | who is looking after {it} || who is in charge of {it}"),
        pool("who repairs {it} | who looks after {it} || who is in charge of {it}"),
        pool("{person} will see to {it} | {it} is with {person} || {person} is in charge of {it}"),
    ),
}

_REQUEST = frames(
    ["{question}?", "{hello} {question}?", "I know {known}, but {question}?", "{question}? I already know {known}"],
    ["never mind {known}, {question}?"],
)
_DIRECT = frames(["{answer}", "{hello} {answer}", "{answer}, {thanks}"], ["well, {answer}"])
_ANSWER_AND_GAP = frames(
    ["{answer}, but I do not know {gap}", "I cannot tell {gap}, but {answer}", "{answer}; I will ask {gap}"],
    ["we are unsure about {gap}, though {answer}"],
)

_TICKET = frames(
    [
        "my {mine} {fault}",
        "{hello} the {mine} {fault}",
        "the {mine} {fault}, {thanks}",
        "the {mine} from {place} {fault}",
    ],
    ["since {date} my {mine} {fault}"],
)
_TICKET_ASIDE = frames(
    [
        "my {mine} {fault}, while the {theirs} {fine}",
        "the {theirs} {fine}, but the {mine} {fault}",
        "it is not that the {mine} {aside}, it {fault}",
        "my {mine} {fault}, I do not mean that it {aside}",
    ],
    ["nobody says that the {mine} {aside}, but it {fault}"],
)


def answers(voice: Voice, label: str) -> Row:
    """Whether the reply tells what the request asks: the right aspect of the right device, and told, not promised."""
    asked = voice.rng.choice(list(_ASPECTS))
    other = voice.other(list(_ASPECTS), asked)
    device = "the {device}"
    known = voice.pick(_ASPECTS[other].indirect)
    # Most requests are plain; the others mention what they do not ask.
    frame = voice.pick(_REQUEST) if voice.chance(0.3) else "{question}?"
    request = voice.text(frame, question=voice.pick(_ASPECTS[asked].question), known=known, it=device)

    style = voice.rng.random()
    if label == "yes":
        told, gap, named = asked, other, device if voice.chance(0.6) else "it"
    elif style < 0.4:  # another aspect of the same device
        told, gap, named = other, asked, device if voice.chance(0.6) else "it"
    elif style < 0.6:  # the same aspect of another device
        told, gap, named = asked, asked, "the {device2}"
    else:  # neither
        told, gap, named = other, asked, "the {device2}"
    frame = voice.pick(_ANSWER_AND_GAP if voice.chance(0.2) else _DIRECT)
    answer, missing = voice.pick(_ASPECTS[told].answer), voice.pick(_ASPECTS[gap].indirect)
    # In `{gap}` the device of the request is meant even where the answer names another one.
    reply = voice.text(frame, answer=answer.replace("{it}", named), gap=missing.replace("{it}", device))
    return {"text_a": request, "text_b": reply, "label": label}


def same_issue(voice: Voice, label: str) -> Row:
    """Whether two tickets report the same fault of the same device, in whatever words."""
    fault = voice.rng.choice(list(FAULTS))
    aside = voice.other(list(FAULTS), fault)
    words = voice.pick(FAULTS[fault])
    first = _ticket(voice, mine="{device}", theirs="{device2}", fault=words, aside=voice.pick(FAULTS[aside]))
    if label == "yes":
        second = {
            "mine": "{device}",
            "theirs": "{device3}",
            "fault": voice.pick(FAULTS[fault], avoid=[words]),
            "aside": aside,
        }
    elif voice.chance(0.4):  # another fault of the same device
        second = {"mine": "{device}", "theirs": "{device2}", "fault": voice.pick(FAULTS[aside]), "aside": fault}
    elif voice.chance(0.4):  # the same fault of another device
        second = {"mine": "{device2}", "theirs": "{device}", "fault": voice.pick(FAULTS[fault]), "aside": aside}
    else:  # neither
        second = {"mine": "{device2}", "theirs": "{device3}", "fault": voice.pick(FAULTS[aside]), "aside": fault}
    second["aside"] = voice.pick(FAULTS[second["aside"]])
    return {"text_a": first, "text_b": _ticket(voice, **second), "label": label}


def _ticket(voice: Voice, **given: str) -> str:
    return voice.text(voice.pick(_TICKET_ASIDE if voice.chance(0.25) else _TICKET), **given)
