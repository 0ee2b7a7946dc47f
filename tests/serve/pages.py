"""The page in a browser: opened, used by keyboard, read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.serve.servers import TOKEN


def has_chromium() -> bool:
    return None not in (shutil.which("chromium"), shutil.which("chromedriver"))


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    """A browser of its own, which keeps what it writes in `folder`."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for one in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(one)
    options.add_argument("--disable-background-networking")
    options.add_argument(f"--user-data-dir={folder}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    made.set_window_size(1100, 900)
    try:
        yield made
    finally:
        made.quit()


def open_page(browser, server):
    """The page, opened with the token typed in."""
    browser.get(server.url)
    field = browser.find_element(By.ID, "token")
    WebDriverWait(browser, 20).until(lambda _: field.is_displayed())  # it learnt that a token is needed
    assert "a token is needed" in browser.find_element(By.ID, "trouble").text
    field.send_keys(TOKEN, Keys.TAB)
    WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "#fields textarea"))
    return browser


def look(page, width, scheme):
    """A window of this width, light or dark; until `ordinary`."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def ordinary(page):
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def choose(page, task):
    Select(page.find_element(By.ID, "task")).select_by_value(task)
    return page.find_elements(By.CSS_SELECTOR, "#fields textarea")


def compare(page, wanted=True):
    """Ticks the box that also asks the challenger, or takes the tick away."""
    box = page.find_element(By.ID, "compare")
    if box.is_selected() != wanted:
        box.send_keys(Keys.SPACE)


def fill(page, *texts):
    """Types into the fields."""
    areas = page.find_elements(By.CSS_SELECTOR, "#fields textarea")
    for area, text in zip(areas, texts, strict=True):
        area.clear()
        if text.isascii():
            area.send_keys(text)
        else:  # the driver types no character beyond the first plane
            page.execute_script(
                "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
                area,
                text,
            )
    return areas[-1]


def ask(page, *texts, cards=1):
    """Types into the fields with the keyboard alone and waits for the answers' cards."""
    WebDriverWait(page, 20).until(lambda _: page.find_element(By.ID, "answers").get_attribute("aria-busy") == "false")
    page.execute_script("document.getElementById('answers').replaceChildren()")  # else old cards could be taken for new
    fill(page, *texts).send_keys(Keys.CONTROL, Keys.ENTER)
    return answers(page, cards)


def answers(page, cards=1):
    WebDriverWait(page, 20).until(lambda _: len(page.find_elements(By.CSS_SELECTOR, "article")) == cards)
    return page.find_elements(By.CSS_SELECTOR, "article")


def parts(card, selector):
    """The texts of a card's parts, folded ones included."""
    return [one.get_property("textContent") for one in card.find_elements(By.CSS_SELECTOR, selector)]


def shown_scores(card):
    return dict(zip(parts(card, ".scores span"), parts(card, ".scores output"), strict=True))


def percent(share):
    return f"{100 * share:.1f} %"
