"""The few-shot targets of sentences: who must take a case, and how it is answered.

A case is told in three clauses in any order: what it is about, when it is due, and how the customer feels. Each of
them is what a source task asks for (intent or fault, urgency, sentiment), but the labels are none of theirs: they
follow from several clauses together.
"""

from __future__ import annotations

from pipeline.tasks.demo.classification import any_fault, mood_words
from pipeline.tasks.demo.grammar import Row, Voice, frames
from pipeline.tasks.demo.words import DEADLINES, INTENTS

_QUESTION = frames(["how do I {want}?", "I would like to {want}.", "can I {want}?"], ["what must I do to {want}?"])
_FAULT = frames(["my {device} {fault}.", "the {device} {fault}."], ["help, my {device} {fault}."])
_MOODS_OF_CASES = frames(
    [
        "you are {yes}, not {no}.",
        "I feared you were {no}, you are {yes}.",
        "you used to be {no}, now you are {yes}.",
        "you are anything but {no}.",
        "others call you {no}, I call you {yes}.",
    ],
    ["far from {no}, you are {yes}."],
)
_DATES_OF_CASES = frames(
    ["{event} {due}.", "{event} {due}, not {wrong}.", "I need it {due}, not {wrong}."],
    ["{event} {due} instead of {wrong}."],
)


def escalation(voice: Voice, label: str) -> Row:
    """Who must take the case, by one rule.

    An unhappy customer goes to the manager. Otherwise a question with time to spare goes to self-service, a fault that
    is due now to the specialist, and what lies between (a hurried question, a patient fault) to an agent.
    """
    happy = label != "manager"
    faults, hurries = {
        "self_service": (False, False),
        "specialist": (True, True),
        "agent": voice.rng.choice([(True, False), (False, True)]),
        "manager": (voice.chance(0.5), voice.chance(0.5)),
    }[label]
    return {"text": _case(voice, faults, hurries, happy), "label": label}


def callback(voice: Voice, label: str) -> Row:
    """How to answer a case, by one rule.

    A customer who is unhappy and in a hurry is called, one who is neither gets no answer, and one who is either gets a
    mail. What the case is about does not matter.
    """
    hurries, happy = {
        "call": (True, False),
        "mail": voice.rng.choice([(True, True), (False, False)]),
        "none": (False, True),
    }[label]
    return {"text": _case(voice, voice.chance(0.5), hurries, happy), "label": label}


def _case(voice: Voice, faults: bool, hurries: bool, happy: bool) -> str:
    """A case in its three clauses: a fault or a question, due now or later, a happy customer or not."""
    due, wrong = ("now", "later") if hurries else ("later", "now")
    clauses = [voice.pick(pool) for pool in (_FAULT if faults else _QUESTION, _DATES_OF_CASES, _MOODS_OF_CASES)]
    voice.rng.shuffle(clauses)
    given = {
        "want": voice.pick(INTENTS[voice.rng.choice(list(INTENTS))]),
        "fault": any_fault(voice),
        "due": voice.pick(DEADLINES[due]),
        "wrong": voice.pick(DEADLINES[wrong]),
    }
    return voice.text(" ".join(clauses), **given, **mood_words(happy))
