"""The page in a real browser: asked by keyboard, answered as the API answers, and nothing it shows is run."""

from __future__ import annotations

import pytest

from tests.serve.servers import MARKUP

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.serve.pages import ask, choose, look, ordinary, shown_scores

SENTENCE = "cancel my order now <b>please</b>"


def test_an_answer_with_its_scores_and_version(page, server):
    choose(page, "intent")
    (card,) = ask(page, SENTENCE)
    (answer,) = server.predict({"task": "intent", "text": SENTENCE})
    assert card.find_element(By.CSS_SELECTOR, ".label").text.startswith(answer["label"])
    assert shown_scores(card) == {label: f"{100 * score:.1f} %" for label, score in answer["scores"].items()}
    assert f"version {answer['version']}" in card.text and "Champion of intent" in card.text
    assert not page.find_element(By.ID, "trouble").is_displayed()


def test_champion_and_challenger_side_by_side(page, server):
    choose(page, "intent")
    page.find_element(By.ID, "compare").send_keys(Keys.SPACE)
    cards = ask(page, SENTENCE, cards=2)
    answers = server.predict(*({"task": task, "text": SENTENCE} for task in ("intent", "intent@challenger")))
    assert [f"version {answer['version']}" in card.text for card, answer in zip(cards, answers, strict=True)] == [
        True
    ] * 2
    assert [card.get_attribute("class") for card in cards] == ["champion", "challenger"]
    same = answers[0]["label"] == answers[1]["label"]
    assert page.find_element(By.ID, "verdict").text.endswith("agree." if same else "differ.")
    choose(page, "same")
    assert not page.find_element(By.ID, "compare").is_enabled()


def test_pairs_and_spans(page, server):
    assert len(choose(page, "same")) == 2
    (card,) = ask(page, "the card was late", "a card is late")
    (answer,) = server.predict({"task": "same", "text_a": "the card was late", "text_b": "a card is late"})
    assert card.find_element(By.CSS_SELECTOR, ".label").text.startswith(answer["label"])
    choose(page, "slots")
    text = "my laptop is broken today <i>now</i>"
    (card,) = ask(page, text)
    (answer,) = server.predict({"task": "slots", "text": text})
    marks = card.find_elements(By.CSS_SELECTOR, "mark")
    assert [mark.text for mark in marks] == [f"{span['text']} is {span['label']}" for span in answer["spans"]] or [
        mark.find_element(By.CSS_SELECTOR, "b").text for mark in marks
    ] == [span["label"] for span in answer["spans"]]
    assert len(marks) == len(answer["spans"]) and "<i>now</i>" in card.text
    for mark in marks:
        assert mark.value_of_css_property("background-color") not in ("rgba(0, 0, 0, 0)", "transparent")


def test_mistakes_are_told_on_the_page(page):
    choose(page, "intent")
    page.find_element(By.ID, "ask").send_keys(Keys.ENTER)
    WebDriverWait(page, 20).until(lambda _: page.find_element(By.ID, "trouble").is_displayed())
    assert "'text' is empty" in page.find_element(By.ID, "trouble").text


def test_nothing_shown_is_run(page):
    """Labels and texts that look like markup stay text; the page's policy was not broken either."""
    choose(page, "markup")
    (card,) = ask(page, "<script>alert(2)</script>")
    assert set(shown_scores(card)) == set(MARKUP["labels"])
    assert not card.find_elements(By.CSS_SELECTOR, "img")
    severe = [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [message for message in severe if "401" not in message and "422" not in message], severe


@pytest.mark.parametrize("width", [390, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_window(page, width, scheme, server):
    look(page, width, scheme)
    choose(page, "slots")
    ask(page, "cancel the order " * 10 + "x" * 120)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    ordinary(page)
