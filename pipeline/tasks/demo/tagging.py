"""Token tasks of the demo suite: slots, orders and the few-shot target contacts.

A span is tagged when it holds. What the writer takes back ("to Leeds, not to York") and look-alikes in another role
(the number of a ticket beside that of an order) stay outside, so that the words alone do not give the tag away.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.tasks.demo.grammar import Pool, Row, Voice, frames, pool

# X is what holds, Y is what is taken back, P is the word before either.
_CORRECTION = frames(
    [
        "P X , not P Y",
        "P X instead of P Y",
        "not P Y but P X",
        "P Y , sorry , I mean P X",
        "P X and no longer P Y",
        "P Y , no , P X",
        "P X , P Y was a mistake",
    ],
    ["P X rather than P Y", "P Y , scratch that , P X", "P X , forget P Y"],
)


@dataclass(frozen=True)
class _Part:
    """One entity of a task: where its words come from, its tag, and the phrase around it (`X` is the entity)."""

    words: str
    tag: str
    before: Pool


_SLOTS = {
    "product": _Part("device", "product", pool("the | my | our || this")),
    "place": _Part("place", "place", pool("to | over to | near || towards")),
    "date": _Part("date", "date", pool("on | by | before || until")),
    "amount": _Part("amount", "amount", pool("for | at | worth || costing")),
}
_SLOT_LEADS = pool(
    "please send | bring | can you ship | I want you to deliver || kindly forward | I expect you to courier"
)
_SLOT_ASIDES = pool(
    "you sent the last one to {place3} | the {place3} newsletter is nice | I was away until {date3} "
    "| my friend paid {amount3} "
    "| the {device3} can stay || the driver comes from {place3} | ignore the {date3} note"
)

_ORDERS = {
    "order_id": _Part("code", "order_id", pool("for order | under number | in order || as per order")),
    "colour": _Part("colour", "colour", pool("in | all in | painted || coloured")),
    "quantity": _Part("number", "quantity", pool("exactly | just || altogether")),
    "item": _Part("item", "item", pool("new | good | spare || extra")),
}
_ORDER_LEADS = pool("I ordered | please pack | there should be | we need || kindly add | I counted on")
_ORDER_ASIDES = pool(
    "my ticket is {code3} | invoice {code3} is paid | the {colour3} box was open | it took {number3} days "
    "| there are {number3} of us here | the other {item3} are fine || voucher {code3} is used up "
    "| the {colour3} van came by"
)

_CONTACTS = {
    "person": _Part("person", "person", pool("for | to | with || reaching")),
    "phone": _Part("phone", "phone", pool("on | at | under || dialling")),
    "hour": _Part("hour", "hour", pool("at | before | after || from")),
    "site": _Part("place", "site", pool("in | at | near || inside")),
}
_CONTACT_LEADS = pool(
    "please call back | I want a call | set up a visit | you can ask || leave a message | arrange a chat"
)
_CONTACT_ASIDES = pool(
    "my colleague {person3} is away | the parcel is from {place3} | order {phone3} is not the point "
    "| I waited until {hour3} "
    "|| {person3} told me so | the {place3} office is closed"
)


def slots(voice: Voice, kind: str) -> Row:
    """Product, place, date and amount of a delivery."""
    order = ["product", *_some(voice, ["place", "date", "amount"], 2)]
    return _row(voice, kind, _SLOT_LEADS, [_SLOTS[name] for name in order], _SLOT_ASIDES)


def orders(voice: Voice, kind: str) -> Row:
    """Quantity, item, colour and number of an order."""
    order = ["quantity", "item", *_some(voice, ["colour", "order_id"], 2)]
    return _row(voice, kind, _ORDER_LEADS, [_ORDERS[name] for name in order], _ORDER_ASIDES)


def contacts(voice: Voice, kind: str) -> Row:
    """Person, telephone, hour and site of an appointment: other entities, said and taken back as in the sources."""
    order = _some(voice, list(_CONTACTS), 3)
    return _row(voice, kind, _CONTACT_LEADS, [_CONTACTS[name] for name in order], _CONTACT_ASIDES)


def _row(voice: Voice, kind: str, leads: Pool, parts: list[_Part], asides: Pool) -> Row:
    """A lead and the parts in order; `kind` says whether one of them is corrected."""
    corrected = voice.rng.randrange(len(parts)) if kind == "corrected" else -1
    phrases = [_phrase(voice, part, corrected=index == corrected) for index, part in enumerate(parts)]
    sentence = f"{voice.pick(leads)} {' '.join(phrases)}"
    if voice.chance(0.4):
        aside = voice.pick(asides)
        sentence = f"{aside} , {sentence}" if voice.chance(0.5) else f"{sentence} , {aside}"
    tokens, tags = voice.tagged(sentence)
    return {"tokens": tokens, "tags": tags}


def _phrase(voice: Voice, part: _Part, *, corrected: bool) -> str:
    pattern = voice.pick(_CORRECTION) if corrected else "P X"
    filled = {"P": voice.pick(part.before), "X": f"<{part.words}:{part.tag}>", "Y": f"{{{part.words}2}}"}
    return " ".join(filled.get(word, word) for word in pattern.split())


def _some(voice: Voice, names: list[str], most: int) -> list[str]:
    """All but one of `most` or `most` of the names, in any order."""
    return voice.rng.sample(names, voice.rng.randint(most - 1, most))
