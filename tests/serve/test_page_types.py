"""A card and fitting inputs for every task type, champion and challenger beside each other: all as the API answers."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tests.serve.typed import ROWS, TYPED

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.serve.pages import answers, ask, choose, compare, fill, look, ordinary, parts, percent, shown_scores

SHOTS = os.environ.get("DEEPPROMPT_SHOTS")
"""A folder for pictures of what the tests look at, for whoever changes the page."""


def typed(name):
    """What to type for the task's row, field by field."""
    row = ROWS[name]
    return ["\n".join(value) if isinstance(value, list) else value for value in row.values()]


def both(page, server, name):
    """Both cards and both answers to the task's row."""
    choose(page, name)
    compare(page)
    cards = ask(page, *typed(name), cards=2)
    told = server.predict(*({"task": task, **ROWS[name]} for task in (name, f"{name}@challenger")))
    assert [one.get_attribute("class") for one in cards] == ["champion", "challenger"]
    return list(zip(cards, told, strict=True))


def verdict(page):
    return page.find_element(By.ID, "verdict").text


def test_labels_above_the_threshold_are_marked(page, server):
    for card, told in (pairs := both(page, server, "topics")):
        assert shown_scores(card) == {label: percent(share) for label, share in told["scores"].items()}
        assert sorted(parts(card, ".first span")) == sorted(told["labels"])
        title = parts(card, ".label")[0].strip()
        assert sorted(title.split(" · ")) == sorted(told["labels"]) if told["labels"] else title == "No label"
        assert parts(card, ".note")[-1] == f"{len(told['labels'])} of 8 labels reach the threshold of 45.0 %"
        assert not card.find_elements(By.CSS_SELECTOR, "details"), "nothing is folded away"
    same = sorted(pairs[0][1]["labels"]) == sorted(pairs[1][1]["labels"])
    assert verdict(page).endswith("agree." if same else "differ.")


@pytest.mark.parametrize("name", ["stars", "alike"])
def test_a_number_on_its_scale(page, server, name):
    low, high = map(float, TYPED[name]["labels"])
    pairs = both(page, server, name)
    for card, told in pairs:
        assert parts(card, ".label")[0].strip() == f"{told['score']:.3f}"
        assert [float(pole) for pole in parts(card, ".poles span")] == [low, high]
        scale, dot = card.find_element(By.CSS_SELECTOR, ".scale"), card.find_element(By.CSS_SELECTOR, ".scale i")
        assert float(scale.get_attribute("aria-valuenow")) == pytest.approx(told["score"], abs=1e-5)
        place = (dot.rect["x"] + dot.rect["width"] / 2 - scale.rect["x"]) / scale.rect["width"]
        assert place == pytest.approx((told["score"] - low) / (high - low), abs=0.02)
    apart = abs(pairs[0][1]["score"] - pairs[1][1]["score"])
    assert verdict(page) == f"Champion and challenger are {apart:.3f} apart."
    assert f"from {low:g} to {high:g}" in page.find_element(By.ID, "about").text


def test_a_choice_among_lines(page, server):
    pairs = both(page, server, "pick")
    for card, told in pairs:
        assert parts(card, ".scores span") == ROWS["pick"]["choices"]  # markup stays text, the order stays
        assert parts(card, ".scores output") == [percent(share) for share in told["scores"]]
        assert parts(card, ".first span") == [told["choice"]]
        assert parts(card, ".label")[0] == f"{told['choice']} {percent(told['score'])}"
    assert verdict(page).endswith("agree." if pairs[0][1]["label"] == pairs[1][1]["label"] else "differ.")
    compare(page, False)
    (card,) = ask(page, "what is late", "\n the order \n\nthe order\n")  # blank lines are none, equal ones are two
    assert parts(card, ".scores span") == ["the order"] * 2 and len(parts(card, ".first span")) == 1


def test_an_answer_inside_its_context_and_none(page, server):
    (found, told), (silent, nothing) = both(page, server, "find")
    context = ROWS["find"]["context"]
    assert parts(found, ".context") == parts(silent, ".context") == [context]
    assert parts(found, ".context mark") == [told["answer"]] and parts(silent, ".context mark") == []
    before = page.execute_script("return arguments[0].previousSibling.data", found.find_element(By.TAG_NAME, "mark"))
    assert (before or "") == context[: told["start"]]
    assert parts(found, ".label")[0] == f"{told['answer']} {percent(told['score'])}"
    assert parts(found, ".note") == [f"no answer: {percent(told['no_answer'])}"]
    assert parts(silent, ".label")[0] == f"No answer {percent(nothing['no_answer'])}"
    assert verdict(page).endswith("differ.")


def test_the_predicate_is_picked_among_the_words(page, server):
    """By keyboard: Tab to the words, arrows between them, Enter answers."""
    choose(page, "roles")
    tokens, place = ROWS["roles"]["tokens"], ROWS["roles"]["predicate"]
    fill(page, " ".join(tokens)).send_keys(Keys.CONTROL, Keys.ENTER)
    trouble = page.find_element(By.ID, "trouble")
    WebDriverWait(page, 20).until(lambda _: "pick the predicate" in trouble.text)
    area = page.find_element(By.CSS_SELECTOR, "#fields textarea")
    area.send_keys(Keys.TAB)
    for key in (Keys.SPACE, *[Keys.ARROW_RIGHT] * place):
        page.switch_to.active_element.send_keys(key)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    (card,) = answers(page)
    (told,) = server.predict({"task": "roles", **ROWS["roles"]})
    marks = card.find_elements(By.CSS_SELECTOR, "mark")
    assert [parts(mark, "b") for mark in marks] == [[span["label"]] for span in told["spans"]]
    assert parts(card, ".text u") == [tokens[place]]
    shown = parts(card, ".text")[0]
    for span in told["spans"]:
        shown = shown.replace(f"{span['text']} is {span['label']}", span["text"], 1)
    assert shown.split() == tokens
    area.send_keys(Keys.HOME, "today ")  # a word before it: the same word stays picked
    picked = page.find_element(By.CSS_SELECTOR, "#words :checked")
    assert picked.get_property("value") == str(place + 1)


@pytest.mark.parametrize("width", [390, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_card_fits_the_window(page, server, width, scheme):
    look(page, width, scheme)
    for name in TYPED:
        choose(page, name)
        compare(page)
        if name == "roles":
            area = fill(page, " ".join([*ROWS[name]["tokens"], "x" * 90]))
            page.find_elements(By.CSS_SELECTOR, "#words input")[4].send_keys(Keys.SPACE)
            area.send_keys(Keys.CONTROL, Keys.ENTER)
            answers(page, 2)
        else:
            *rest, last = typed(name)
            ask(page, *rest, last[:280] + "\n" + "x" * 90, cards=2)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width, name
        if SHOTS:
            shot = page.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
            (Path(SHOTS) / f"{name}-{width}-{scheme}.png").write_bytes(base64.b64decode(shot))
    ordinary(page)
    severe = [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [message for message in severe if "401" not in message], severe
