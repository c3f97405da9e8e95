"""The page in headless Chromium, at the width of a desk and of a phone."""

from __future__ import annotations

import os
import shutil

import pytest

from experiments import tables
from experiments.ground import paths
from experiments.report.__main__ import main
from tests.experiments.report_files import EXPERIMENT, NASTY, results_folder

pytestmark = pytest.mark.slow

RF = next(column.heading for column in tables.columns(["classification"]) if column.key == "rf")
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser():
    """Chromium as Debian packs it; nothing is downloaded."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        lacking = "the page's tests need a browser: apt-get install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(lacking)
        pytest.skip(lacking)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def written(tmp_path_factory, made_result):
    results = results_folder(tmp_path_factory.mktemp("results"), made_result)
    assert main(["--results", str(results)]) == 0
    return paths.reports(results) / f"{EXPERIMENT}.html"


@pytest.fixture(params=SCREENS)
def page(request, browser, written):
    """The open page; whatever the test did, it must not be wider than the screen nor complain."""
    width, height = SCREENS[request.param]
    # A headless window has a least width, a device has not.
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    calm = {"name": "prefers-reduced-motion", "value": "reduce"}  # or clicks miss what glides
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [calm]})
    browser.get(written.resolve().as_uri())
    yield browser
    inner, room, used = browser.execute_script(
        "const root = document.documentElement;"
        "return [innerWidth, root.clientWidth, root.scrollWidth]"
    )
    assert inner == width  # a phone's would grow with what does not fit
    assert used <= room <= width
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


def elements(page, selector):
    return page.find_elements("css selector", selector)


def element(page, selector):
    return page.find_element("css selector", selector)


def opened(page, details):
    """Wait for what is written on opening: the event comes after the click."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, 10).until(lambda _: details.get_attribute("open") is not None)
    if set(details.get_attribute("class").split()) & {"plan", "config"}:
        WebDriverWait(page, 10).until(lambda _: elements(details, ":scope > :not(summary)"))
    return details


def column(page, heading):
    """The texts of a column, of the rows that are shown, as they stand."""
    heads = [head.get_attribute("data-heading") for head in elements(page, "#settings thead th")]
    place = heads.index(heading) + 1
    rows = elements(page, f"#settings tbody tr:not([hidden]) > :nth-child({place})")
    return [row.get_attribute("textContent") for row in rows]


def test_numbers_sort_as_numbers_up_and_down_and_missing_ones_last(page):
    head = element(page, f'#settings th[data-heading="{RF}"]')
    button = element(head, "button")
    assert head.get_attribute("aria-sort") == "none"
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    up = column(page, RF)
    values = [float(text.split()[0]) for text in up[:-1]]
    assert up[-1] == "—"
    assert values == sorted(values)
    assert {2.0, 10.0, 12.0} <= set(values)  # which texts would put the other way round
    button.send_keys(" ")  # the keyboard will do
    assert head.get_attribute("aria-sort") == "descending"
    down = column(page, RF)
    assert down[-1] == "—"
    assert [float(text.split()[0]) for text in down[:-1]] == sorted(values, reverse=True)
    element(page, '#settings th[data-heading="asked"] button').click()
    assert column(page, "asked")[-3:] == ["RF 10", "RF 12", "RF 500"]
    sorted_by = elements(page, '#settings th[aria-sort$="scending"]')
    assert [head.get_attribute("data-heading") for head in sorted_by] == ["asked"]


def test_filters_narrow_the_table_and_the_runs(page):
    count = element(page, "#count")
    assert count.text == "10 of 10 settings"
    element(page, "#search").send_keys("RESNET8 5")  # all reach 50.0 %, which is no setting
    assert column(page, "asked") == ["RF 1.5", "RF 10", "RF 500"]  # run 5555555555 is RF 10
    assert count.text == "3 of 10 settings"
    assert len(elements(page, ".setting:not([hidden])")) == 3
    element(page, "#clear").click()
    assert count.text == "10 of 10 settings"
    element(page, '#filters select[data-heading="method"]').send_keys("random")
    assert column(page, "model") == ["vgg_small"]
    element(page, "#search").send_keys("nowhere")
    assert count.text == "0 of 10 settings"
    assert element(page, "#nothing").is_displayed()


def test_a_run_shows_its_numbers_its_plan_and_its_configuration(page):
    link = element(page, '#settings a[href="#setting-2222222222"]')
    link.click()
    run = opened(page, element(page, "#run-2222222222-0"))
    assert "98.00 %" in element(run, ".numbers").text
    plan = element(run, ".plan")
    assert elements(plan, "table") == []  # it is written when it is opened
    element(plan, "summary").click()
    groups, parameters = elements(opened(page, plan), "table")
    first = element(groups, "tbody tr").get_attribute("textContent")
    assert first == "016 → 12yes0-3stem axis 0, a.first axis 1, a.second axis 0, b.first axis 1"
    last = elements(parameters, "tbody tr")[-1].get_attribute("textContent")
    assert last == "head132 → 300-1"
    config = element(run, ".config")
    element(config, "summary").click()
    assert element(opened(page, config), "pre").text == "seed: 0"


def test_a_link_to_a_run_that_is_filtered_away_brings_it_back(page):
    element(page, "#search").send_keys("vgg_small")
    page.execute_script("location.hash = '#run-1111111111-1'")
    assert opened(page, element(page, "#run-1111111111-1")).is_displayed()
    assert element(page, "#count").text == "10 of 10 settings"


def test_the_graph_shows_the_run_that_is_chosen(page):
    from selenium.webdriver.support.ui import Select

    (graph,) = (g for g in elements(page, ".graph") if element(g, "h3").text.startswith("resnet8"))
    numbers = [box.text for box in elements(graph, ".channels")]
    assert numbers == ["16 → 12", "16 → 8", "32 → 32"]
    Select(element(graph, ".chooser select")).select_by_visible_text("3333333333 seed 1")
    numbers = [box.text for box in elements(graph, ".channels")]
    assert numbers == ["16 → 12", "16 → 9", "32 → 29"]
    assert [box.text for box in elements(graph, ".share")] == ["−25 %", "−44 %", "−9 %"]
    bar, gone = (element(graph, f".group .{part}") for part in ("bar", "gone"))
    assert float(gone.get_attribute("width")) == float(bar.get_attribute("width")) / 4
    assert len(elements(graph, ".head")) == 3  # there and back between two, on to the third


def test_what_others_wrote_is_shown_and_does_nothing(page):
    assert elements(page, "img") == []
    assert NASTY in column(page, "model")
    assert NASTY in element(page, "#run-99aa-0 .error").get_attribute("textContent")
    page.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    for details in elements(page, ".plan, .config"):
        opened(page, details)
    assert element(page, "#run-88aa-0 .config pre").text == NASTY
    assert elements(page, "img") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_nothing_is_cut_off_on_paper(page):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        hidden = page.execute_script(
            "return [...document.querySelectorAll('.scroll')]"
            ".filter((box) => getComputedStyle(box).overflowX !== 'visible').length"
        )
        assert hidden == 0
        assert not element(page, "#filters").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
