"""Sentence tasks of the demo suite: intent, sentiment, urgency and topic.

Most rows mention two candidates, and only the sentence's structure (negation, contrast, time, who speaks) says which
one counts. The bag of words is therefore a poor guide, while a reader has no doubt.
"""

from __future__ import annotations

from pipeline.tasks.demo.grammar import Pool, Row, Voice, frames
from pipeline.tasks.demo.words import AREAS, DEADLINES, FAULTS, INTENTS

_PLAIN_INTENT = frames(
    ["I would like to {want}", "how do I {want}?", "can you help me {want}?", "I need to {want}, please"],
    ["what must I do to {want}?", "is it possible to {want}?"],
)
_MIXED_INTENT = frames(
    [
        "I do not want to {other}, I want to {want}",
        "I want to {want}, not to {other}",
        "you helped me {other} before, today I need to {want}",
        "I was going to {other}, but now I would rather {want}",
        "no need to {other} any more, just help me {want}",
        "help me {want}; your robot only explains how to {other}",
        "my sister wants to {other}, I only want to {want}",
        "instead of helping me {other}, please help me {want}",
        "I asked how to {want} and you told me how to {other}",
        "how do I {want}? I already know how to {other}",
        "please let me {want}, I have given up the plan to {other}",
    ],
    [
        "forget my wish to {other}, what matters is to {want}",
        "rather than {other}, I would prefer to {want}",
        "could I {want}? I never asked to {other}",
        "by mistake I asked you to {other}; I meant to {want}",
    ],
)

_TOPIC = frames(
    [
        "the {other} {fine}, but the {it} {fault}",
        "the {it} {fault}, while the {other} {fine}",
        "it is not the {other} that {fault}, it is the {it}",
        "it is the {it} that {fault}, not the {other}",
        "first I blamed the {other}, yet it is the {it} that {fault}",
        "you repaired my {other} {ago}, now the {it} {fault}",
        "since I unplugged the {other}, my {it} {fault}",
        "I own the {other} and the {it}, and the latter {fault}",
        "I own the {it} and the {other}, and the former {fault}",
        "I asked about the {it} and you answered about the {other}",
        "is there a discount on the {it}? I already have the {other}",
        "I have read all about the {other}, now tell me about the {it}",
    ],
    [
        "leave the {other} aside and look at the {it}, which {fault}",
        "the {it} {fault}, and no, the {other} is not to blame",
        "my last ticket was about the {other}; this one concerns the {it}",
    ],
)
_PLAIN_TOPIC = frames(["my {it} {fault}", "the {it} from {place} {fault}"], ["help, the {it} {fault}"])

# `{yes}` is a word of the row's own mood, `{no}` of the opposite one: the same frames serve praise and blame.
_MOOD = frames(
    [
        "I expected {subject} to be {no}, but it is {yes}",
        "{subject} is {yes}, although I expected it to be {no}",
        "{subject} is anything but {no}",
        "{subject} used to be {no}, now it is {yes}",
        "friends called {subject} {no}; to me it is {yes}",
        "to me {subject} is {yes}, whoever calls it {no}",
        "{subject} is not {no}, quite the opposite",
        "nobody can say that {subject} is {no}",
        "{subject} was {yes}, not {no}",
    ],
    [
        "{subject} has turned from {no} to {yes}",
        "far from {no}, {subject} is {yes}",
        "I must correct my review: {subject} is {yes}, not {no}",
    ],
)
_PLAIN_MOOD = frames(["I find {subject} {yes}", "{subject} is simply {yes}"], ["honestly, {subject} is {yes}"])
_SARCASM = frames(
    [
        "oh {good}, {subject} failed again, just what I needed",
        "if {good} means broken after an hour, then {subject} is {good}",
        "how {good}, another week without an answer about {subject}",
    ],
    ["so {subject} is late once more, {good}, well done"],
)
_NEUTRAL = frames(
    [
        "is {subject} {good} or {bad}? I have not tried it",
        "some say {subject} is {good}, others {bad}; I cannot tell",
        "some say {subject} is {bad}, others {good}; I cannot tell",
        "{subject} is neither {good} nor {bad}",
        "a review calls {subject} {good}; I have no opinion yet",
        "a review calls {subject} {bad}; I have no opinion yet",
        "would {subject} be {good} for a beginner? I only ask",
        "people expect {subject} to be {bad}, but I have not seen it",
        "friends called {subject} {good}; I do not know it",
        "{subject} used to be {bad}, I cannot say what it is now",
        "I expected {subject} to be {good}, but I have yet to try it",
    ],
    [
        "whether {subject} is {good} or {bad} I have yet to see",
        "I have heard {subject} is {bad} and have no view of my own",
    ],
)

_DEADLINE = frames(
    [
        "I thought {event} {wrong}, but it is {due}",
        "{event} {due}, not {wrong} as I wrote before",
        "{event} {due} and no longer {wrong}",
        "my colleague needs her {device} {wrong}, I need mine {due}",
        "I need my {device} {due}, my colleague needs hers {wrong}",
        "you offer the {device} {wrong}, but I must have it {due}",
        "the {device} has to work {due}, the rest is for the fair {wrong}",
    ],
    [
        "{event} {due} instead of {wrong}",
        "the {device} is due {due}; only the bill is due {wrong}",
    ],
)
_PLAIN_DEADLINE = frames(
    ["I got the {device} {ago} and {event} {due}", "{event} {due} and I need the {device}", "{event} {due}"],
    ["the {device} from {ago} must work when {event} {due}"],
)
_EXPLICIT: dict[str, Pool] = {
    "now": frames(
        [
            "I said the {device} could wait, but now nobody here can work",
            "this is not a case for next week: the {device} is on fire",
            "drop everything, the {device} blocks the whole office",
            "every minute without the {device} costs us {amount}, please hurry",
        ],
        ["we are all standing still because of the {device}, so move"],
    ),
    "soon": frames(
        [
            "it need not be today, but this week I need the {device}",
            "not urgent enough for tonight, yet I count on the {device} within days",
            "the {device} can wait until tomorrow, not until next month",
        ],
        ["no panic about the {device} today, but please act before the week is over"],
    ),
    "later": frames(
        [
            "I marked the {device} as urgent by mistake, it can wait for months",
            "the last ticket was urgent, this one about the {device} has no date",
            "no need to hurry with the {device}, nobody uses it now",
            "do not drop anything for the {device}, take as long as you like",
        ],
        ["the {device} is no emergency, some day is good enough"],
    ),
}
_DAYS_LEFT = {"now": (1, 1), "soon": (3, 5), "later": (14, 24)}


def intent(voice: Voice, label: str) -> Row:
    """What the customer wants now; most rows also mention something that is not wanted."""
    want = voice.pick(INTENTS[label])
    other = voice.pick(INTENTS[voice.other(list(INTENTS), label)]).replace("{device}", "{device2}")
    frame = voice.pick(_MIXED_INTENT if voice.chance(0.75) else _PLAIN_INTENT)
    return {"text": voice.text(_greeted(voice, frame), want=want, other=other), "label": label}


def topic(voice: Voice, label: str) -> Row:
    """The product area of the device that the ticket is about, not of the device that is mentioned in passing."""
    it = voice.pick(AREAS[label])
    other = voice.pick(AREAS[voice.other(list(AREAS), label)])
    frame = voice.pick(_TOPIC if voice.chance(0.8) else _PLAIN_TOPIC)
    return {"text": voice.text(_greeted(voice, frame), it=it, other=other, fault=any_fault(voice)), "label": label}


def sentiment(voice: Voice, label: str) -> Row:
    """What the writer feels now, whatever others said, was expected or used to be."""
    if label == "neutral":
        return {"text": voice.text(_greeted(voice, voice.pick(_NEUTRAL))), "label": label}
    kind = _MOOD if voice.chance(0.8) else _PLAIN_MOOD
    if label == "negative" and voice.chance(0.2):
        kind = _SARCASM
    return {"text": voice.text(_greeted(voice, voice.pick(kind)), **mood_words(label == "positive")), "label": label}


def urgency(voice: Voice, label: str) -> Row:
    """When an answer is needed: now (within a day), soon (within a week) or later."""
    wrong = voice.pick(DEADLINES[voice.other(list(DEADLINES), label)])
    style = voice.rng.random()
    if style < 0.1:
        today = voice.rng.randint(4, 6)
        due = today + voice.rng.randint(*_DAYS_LEFT[label])
        frame = f"today is the {today}th and {{event}} on the {_ordinal(due)}"
    elif style < 0.25:
        frame = voice.pick(_EXPLICIT[label])
    else:
        frame = voice.pick(_DEADLINE if style < 0.85 else _PLAIN_DEADLINE)
    given = {"due": voice.pick(DEADLINES[label]), "wrong": wrong}
    return {"text": voice.text(_greeted(voice, frame), **given), "label": label}


def any_fault(voice: Voice) -> str:
    """Any fault of any device, as a predicate."""
    return voice.pick(FAULTS[voice.rng.choice(list(FAULTS))])


def mood_words(happy: bool) -> dict[str, str]:
    """Fills `{yes}` with the mood's own words and `{no}` with the opposite ones."""
    return {"yes": "{good}", "no": "{bad}"} if happy else {"yes": "{bad}", "no": "{good}"}


def _ordinal(day: int) -> str:
    return f"{day}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th') if day not in (11, 12, 13) else 'th' }"


def _greeted(voice: Voice, frame: str) -> str:
    """Adds a greeting or thanks now and then, so that the decisive words stand at no fixed place."""
    style = voice.rng.random()
    if style < 0.25:
        return "{hello} " + frame
    if style < 0.45:
        return frame + (" {thanks}" if frame.endswith("?") else ", {thanks}")
    return frame
