from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from helpers.browser import browser, needs_browser, requests, screen
from helpers.evaluation_documents import comparison_document, example_exams, metrics_document
from helpers.sweep_directories import mixed_sweep
from PIL import Image

from mammorisk.report.page import write_comparison_page, write_evaluation_page, write_sweep_page
from mammorisk.sweeps.document import sweep_document

pytestmark = needs_browser
LUMINANCE = """
const values = name => getComputedStyle(document.querySelector(name)).color.match(/[0-9.]+/g).slice(0, 3).map(Number);
const light = c => c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
const paper = light(getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number));
return arguments[0].map(name => { const ink = light(values(name));
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05); });
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    write_evaluation_page(metrics_document(), example_exams(), folder / "evaluation.html")
    write_comparison_page(comparison_document(), folder / "comparison.html")
    write_sweep_page(sweep_document(mixed_sweep(folder / "sweep"), folder), folder / "sweep.html")
    return folder


@pytest.mark.parametrize("kind", ["evaluation", "comparison", "sweep"])
def test_a_browser_opens_it_without_error_or_network(driver, pages, kind):
    requests(driver), driver.get_log("browser")
    driver.get((pages / f"{kind}.html").as_uri())
    asked = requests(driver)
    assert asked
    assert all(each.startswith(("file://", "data:")) for each in asked)
    assert driver.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("kind", ["evaluation", "comparison", "sweep"])
def test_the_page_never_scrolls_sideways(driver, pages, kind, width):
    screen(driver, width)
    driver.get((pages / f"{kind}.html").as_uri())
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_figures_have_contrast_in_light_and_dark(driver, pages, dark):
    screen(driver, 1000, dark)
    driver.get((pages / "evaluation.html").as_uri())
    ratios = driver.execute_script(LUMINANCE, ["body", "nav a", "figcaption", ".lead", "td .ci", ".item"])
    assert min(ratios) >= 4.5
    shot = np.asarray(Image.open(BytesIO(b64decode(driver.get_screenshot_as_base64()))).convert("L"))
    assert (np.median(shot) < 60) == dark
    ink = driver.execute_script("return getComputedStyle(document.querySelector('svg text')).fill")
    assert (min(int(each) for each in ink[4:-1].split(",")) > 200) == dark


def test_it_prints(driver, pages):
    screen(driver, 1000, dark=True)
    driver.get((pages / "evaluation.html").as_uri())
    pdf = b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000
    screen(driver, 1000, dark=True, media="print")
    assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert driver.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"
