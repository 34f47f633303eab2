"""The report in a real browser: Debian's Chromium without a screen, installed if it is not there."""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import hostile
import numpy as np
import pytest
from debian import found, install

pytestmark = pytest.mark.browser

PHONE, DESK = (360, 780), (1300, 1000)
AXE = """
    const done = arguments[0];
    axe.run(document, {resultTypes: ["violations"]}).then(result => done(result.violations.map(
        one => `${one.id}: ${one.help}: ${one.nodes.map(node => node.html.slice(0, 150)).slice(0, 3).join(" | ")}`)));
"""
WIDER = """
    const inside = [...document.querySelectorAll(".scroll, pre")];
    return [...document.querySelectorAll("main *")]
        .filter(e => !inside.some(box => box.contains(e)) && e.getClientRects().length && !e.closest(".hide"))
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
        .map(e => e.outerHTML.slice(0, 120)).slice(0, 5);
"""
"""Elements that stand out of the screen, but for those in boxes that are scrolled by themselves."""
FETCHED = "return performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:'))"
BROKEN = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
TEXTS = "[...document.querySelectorAll('h1, h2, h3, p, li, td, th, a, button, summary, figcaption, dt, dd')]"
SMALLEST = f"return Math.min(...{TEXTS}.map(e => parseFloat(getComputedStyle(e).fontSize)))"
CONTRAST = (
    """
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    function rgb(colour) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    }
    function behind(element) {
      for (; element; element = element.parentElement) {
        const found = rgb(getComputedStyle(element).backgroundColor);
        if (found[3] === 255) return found;
      }
      return [255, 255, 255, 255];
    }
    const seen = TEXTS.filter(e => e.textContent.trim() && e.getClientRects().length);
    return seen.map(e => [rgb(getComputedStyle(e).color), behind(e), e.textContent.slice(0, 40)]);
    """
).replace("TEXTS", TEXTS)
"""Colour of each text that is seen, of what is behind it, and what it says."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose class names are scripts, shown as text."""
    from sat_evaluation.report.page import write_report

    return write_report([hostile.finished(tmp_path_factory.mktemp("browser"))])


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    install({"chromium": "chromium", "chromedriver": "chromium-driver"})
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    downloads = tmp_path_factory.mktemp("downloads")
    options = ChromeOptions()
    options.binary_location = found("chromium")
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "hide-scrollbars",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(f"--{argument}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(found("chromedriver")))
    driver.downloads = downloads
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(chrome, report):
    """The page, from disk, in a large window with a light theme."""
    return opened(chrome, report)


def opened(chrome, report, size=DESK, scheme="light", media=""):
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [feature]})
    chrome.get(report.as_uri())
    return chrome


def all_of(chrome, selector):
    return chrome.find_elements("css selector", selector)


def shot(chrome, name):
    """The whole page as pixels; kept as a picture in SAT_SCREENSHOTS, if that is set."""
    from PIL import Image

    taken = chrome.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    content = base64.b64decode(taken["data"])
    if folder := os.environ.get("SAT_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(content)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_it_opens_from_disk_without_errors(page) -> None:
    assert page.title == "study · sat-core"
    assert page.get_log("browser") == []
    assert len(page.find_elements("css selector", "svg[role=img]")) >= 7
    assert page.execute_script(FETCHED) == []
    assert page.execute_script(BROKEN) == 0


def test_names_of_classes_run_nothing(page) -> None:
    assert "<script>" in page.find_element("css selector", "body").text
    assert page.title == "study · sat-core"
    page.execute_script("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title = 1\">')")
    time.sleep(0.3)
    assert page.title == "study · sat-core"  # the page's policy runs no code but its own
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read(chrome, report, size, scheme) -> None:
    opened(chrome, report, size, scheme)
    pixels = shot(chrome, f"{scheme}-{size[0]}")
    background = np.median(pixels, axis=(0, 1)).mean()
    assert (background > 200) if scheme == "light" else (background < 60)
    assert pixels.std() > 10
    page_width, scrolled = chrome.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
    assert scrolled <= page_width  # wide things scroll by themselves
    assert chrome.execute_script(WIDER) == []
    assert chrome.execute_script(SMALLEST) >= 11
    assert contrast(chrome) >= 4.5
    assert chrome.get_log("browser") == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(chrome, report, size, scheme) -> None:
    import axe_core_python

    opened(chrome, report, size, scheme)
    # what is folded is read out, too, once it is open
    chrome.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    # the page's own policy forbids other scripts, but not those of the driver
    chrome.execute_script((Path(axe_core_python.__file__).parent / "axe.min.js").read_text())
    chrome.set_script_timeout(120)
    assert chrome.execute_async_script(AXE) == []


def test_headings_have_an_order(page) -> None:
    levels = page.execute_script("return [...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_the_first_screen_has_question_answer_picture_and_cost(page) -> None:
    for selector in ("h1.question", ".answer", ".opening .plot svg", ".facts"):
        element = page.find_element("css selector", selector)
        assert element.rect["y"] + element.rect["height"] <= DESK[1], selector


def test_texts_are_copied(page) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    button = all_of(page, "[data-copy*=methods]")[-1]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    WebDriverWait(page, 10).until(lambda _: button.text.startswith(("Copied", "Selected")))
    assert page.execute_script("return String(getSelection())").startswith("@inproceedings{losch2024adversarial")


def test_long_tables_are_folded_but_printed_whole(chrome, tmp_path) -> None:
    from sat_core.run_folder import RunFolder
    from sat_evaluation.report.blocks import chapter
    from sat_evaluation.report.gather import Run
    from sat_evaluation.report.opening import Opening
    from sat_evaluation.report.render import render
    from sat_evaluation.report.section import Section
    from sat_evaluation.report.table import plain_table

    unused = {"settings": [], "spec": "", "unfinished": [], "ranking": None, "data": None, "problems": []}
    run = Run(folder=RunFolder(tmp_path), name="study", rows=[], **unused)
    table = plain_table(("arm", "value"), [(f"arm-{n}", n) for n in range(30)], file="arms.csv", caption="Arms")
    first = Opening(question="What?", answer="This.", facts=(), picture=None)
    section = Section(anchor="run-0", run=run, opening=first, chapters=tuple(chapter("arms", "Arms", table)))
    path = tmp_path / "long.html"
    path.write_text(render(title="study", sections=[section], figures=[], beside=None, problems=[]))
    page = opened(chrome, path)
    table = page.find_element("css selector", "table.folded")
    rows = table.find_elements("css selector", "tbody tr")
    assert len(rows) == 30
    assert sum(row.is_displayed() for row in rows) == 20
    button = table.find_element("xpath", "../following-sibling::button[1]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert all(row.is_displayed() for row in rows)
    button.click()
    feature = {"name": "prefers-color-scheme", "value": "light"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [feature]})
    assert all(row.value_of_css_property("display") != "none" for row in rows)


def test_tables_are_saved_as_json(page) -> None:
    links = {a.get_attribute("download"): a.get_attribute("href") for a in all_of(page, "a[download]")}
    content = json.loads(unquote(links["study.json"].partition(",")[2]))
    assert len(content["data"]) == 6
    assert {"arm", "robust_all", "cost"} <= {*content["columns"]}


def contrast(chrome) -> float:
    """The lowest ratio of text against the background behind it (WCAG 2), of all texts outside of drawings."""
    colours = chrome.execute_script(CONTRAST)
    assert len(colours) > 50

    def luminance(colour: list[int]) -> float:
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour[:3])]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ratios = []
    for text, behind, words in colours:
        low, high = sorted((luminance(text), luminance(behind)))
        ratios.append(((high + 0.05) / (low + 0.05), words))
    return min(ratios)[0]


def test_values_are_shown_near_the_pointer(page) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    tip = page.find_element("id", "tip")
    assert not tip.is_displayed()
    mark = all_of(page, "circle.hit")[2]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)

    def shown(_page) -> bool:
        """Whether the tip is there after the pointer came from elsewhere: a page that still scrolls may miss it."""
        ActionChains(page).move_to_element_with_offset(mark, 0, 40).move_to_element(mark).perform()
        return tip.is_displayed()

    WebDriverWait(page, 10).until(shown)
    assert tip.text == mark.get_attribute("data-tip")


def test_names_in_the_legend_hide_curves(chrome, report) -> None:
    opened(chrome, report)
    button = all_of(chrome, "[data-toggle]")[0]
    figure = button.find_element("xpath", "ancestor::figure")
    name = button.get_attribute("data-toggle")
    curve = figure.find_element("xpath", f".//*[@data-curve='{name}']")
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    assert curve.value_of_css_property("display") != "none"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert curve.value_of_css_property("display") == "none"
    button.click()
    assert curve.value_of_css_property("display") != "none"


def test_tables_are_sorted_by_their_heads(page) -> None:
    table = next(t for t in all_of(page, "table.sortable") if t.is_displayed())
    heads = table.find_elements("css selector", "th")
    place = next(n for n, head in enumerate(heads) if head.text.startswith("robust %"))

    def values() -> list[float]:
        cells = table.find_elements("css selector", f"tbody tr td:nth-child({place + 1})")
        return [float(cell.get_attribute("data-sort")) for cell in cells]

    before = values()
    for expected in (sorted(before), sorted(before, reverse=True)):
        button = heads[place].find_element("css selector", "button")
        page.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", button)
        assert values() == expected
    assert heads[place].get_attribute("aria-sort") == "descending"


def test_tables_are_downloaded(page) -> None:
    link = next(a for a in all_of(page, "a[download]") if a.get_attribute("download") == "study.csv")
    page.execute_script("arguments[0].click()", link)
    path = page.downloads / "study.csv"
    until = time.monotonic() + 20
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert path.read_text() == unquote(link.get_attribute("href").partition(",")[2])
    assert path.read_text().startswith("arm,backend,")


def test_links_lead_somewhere(page) -> None:
    targets = [a.get_attribute("href").partition("#")[2] for a in all_of(page, "a[href*='#']")]
    assert targets
    for target in targets:
        assert page.find_elements("id", target), target


def test_it_prints(page) -> None:
    content = base64.b64decode(page.print_page())
    assert content.startswith(b"%PDF")
    pages = content.count(b"/Type /Page\n") or content.count(b"/Type/Page")
    assert 2 <= pages <= 40
    if folder := os.environ.get("SAT_SCREENSHOTS"):
        (Path(folder) / "printed.pdf").write_bytes(content)


def test_the_keyboard_reaches_what_the_pointer_does(page) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    ActionChains(page).send_keys(Keys.TAB).perform()
    assert page.switch_to.active_element.text == "Skip to the results"
    reached = set()
    for _ in range(60):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.add(page.switch_to.active_element.tag_name)
    assert {"summary", "button", "a"} <= reached
