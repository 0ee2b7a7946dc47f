"""The page in a real browser: asked by keyboard, answered as the API answers, and nothing it shows is run."""

from __future__ import annotations

import shutil

import pytest

from tests.serve.servers import MARKUP, TOKEN

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

SENTENCE = "cancel my order now <b>please</b>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    folder = tmp_path_factory.mktemp("chromium")
    for one in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(one)
    options.add_argument("--disable-background-networking")
    options.add_argument(f"--user-data-dir={folder}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    made.set_window_size(1100, 900)
    yield made
    made.quit()


@pytest.fixture
def page(browser, server):
    """The page, opened with the token typed in."""
    browser.get(server.url)
    field = browser.find_element(By.ID, "token")
    WebDriverWait(browser, 20).until(lambda _: field.is_displayed())  # it learnt that a token is needed
    assert "a token is needed" in browser.find_element(By.ID, "trouble").text
    field.send_keys(TOKEN, Keys.TAB)
    WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "#fields textarea"))
    return browser


def choose(page, task):
    Select(page.find_element(By.ID, "task")).select_by_value(task)
    return page.find_elements(By.CSS_SELECTOR, "#fields textarea")


def ask(page, *texts):
    """Types into the fields with the keyboard alone and waits for the answers' cards."""
    areas = page.find_elements(By.CSS_SELECTOR, "#fields textarea")
    for area, text in zip(areas, texts, strict=True):
        area.clear()
        area.send_keys(text)
    areas[-1].send_keys(Keys.CONTROL, Keys.ENTER)
    WebDriverWait(page, 20).until(lambda _: page.find_elements(By.CSS_SELECTOR, "article"))
    return page.find_elements(By.CSS_SELECTOR, "article")


def shown_scores(card):
    names = [one.get_property("textContent") for one in card.find_elements(By.CSS_SELECTOR, ".scores span")]
    shares = [one.get_property("textContent") for one in card.find_elements(By.CSS_SELECTOR, ".scores output")]
    return dict(zip(names, shares, strict=True))


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
    cards = ask(page, SENTENCE)
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
    scheme = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    choose(page, "slots")
    ask(page, "cancel the order " * 10 + "x" * 120)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
