"""The whole way in a real browser: headless Chromium, as Debian packages it."""

import shutil
import time

import numpy as np
import pytest

from pyramidflow import Detector
from tests.line.preparing import held_preparations
from tests.service.served import TOKEN, beginning, configuration, picture, served

pytest.importorskip("selenium", reason="needs selenium, of the extra test")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"
)
PAGES = ("/", "/shifts", "/history", "/thresholds", "/sign-in", "/part?station=press&identity=0")


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    driver.set_window_size(1280, 1000)
    yield driver
    driver.quit()


def wait_for(browser, condition, seconds=20):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, 0.05).until(lambda _: condition())


def one(browser, selector):
    return browser.find_element("css selector", selector)


def all_of(browser, selector):
    return browser.find_elements("css selector", selector)


def sign_in(browser, found):
    browser.get(f"{found.url}/sign-in")
    one(browser, "#token").send_keys(TOKEN)
    one(browser, "#sign-in button").click()
    wait_for(browser, lambda: browser.current_url == f"{found.url}/")
    who = one(browser, "#who")
    who.clear()
    who.send_keys("Ada\t")


def test_from_a_part_to_a_verdict_that_changes(browser, tmp_path, detector_file):
    from selenium.webdriver.common.keys import Keys

    with served(configuration(tmp_path, detector_file)) as found:
        sign_in(browser, found)
        wait_for(browser, lambda: one(browser, "#connection").text == "Connected")
        # A part comes in, and the page shows it.
        score = found.inspect(picture(0), identity="0").json()["score"]
        wait_for(browser, lambda: len(all_of(browser, "#parts li.ok")) == 1)
        image = one(browser, "#parts img")
        wait_for(browser, lambda: image.get_property("naturalWidth") == 24)
        # A threshold moves: the page says what that would have changed, and applies it.
        one(browser, "nav a[href='/thresholds']").click()
        field = wait_for(browser, lambda: one(browser, "#threshold-number"))
        wait_for(browser, lambda: field.get_property("value") != "")
        assert not one(browser, "#apply").is_enabled()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(str(score / 2))
        wait_for(browser, lambda: "1 of the last 1" in one(browser, "#changes").text)
        assert "ok → ng" in one(browser, "#changes").text
        one(browser, "#apply").click()
        wait_for(browser, lambda: "Ada moved" in one(browser, "#message").text)
        assert found.line.thresholds["press"]["threshold"] == pytest.approx(score / 2, rel=1e-5)
        # The verdict changes, and "was good" is kept.
        browser.get(f"{found.url}/")
        found.inspect(picture(0), identity="1")
        wait_for(browser, lambda: len(all_of(browser, "#parts li.ng")) == 1)
        one(browser, "#last-ng .marks button").click()
        wait_for(browser, lambda: "1 was good" in one(browser, "#message").text)
        part = found.client.get("/api/part", params={"station": "press", "identity": "1"}).json()
        assert (part["verdict"], part["marked_good"]) == ("ng", True)
        assert part["said"][0]["who"] == "Ada"
        # The part's own page says so, and takes another word, by the keyboard.
        one(browser, "#last-ng a").click()
        pressed = wait_for(browser, lambda: all_of(browser, ".marks [aria-pressed='true']"))
        assert [button.text for button in pressed] == ["Was good"]
        one(browser, ".marks [data-good='false']").send_keys(Keys.ENTER)
        wait_for(browser, lambda: "bad, says Ada" in one(browser, "#said").text)


def test_a_station_that_prepares_is_told_and_goes_on_without_a_reload(
    browser, tmp_path, detector_file
):
    with (
        held_preparations() as go,
        beginning(configuration(tmp_path, detector_file)) as found,
    ):
        browser.get(f"{found.url}/thresholds")
        wait_for(browser, lambda: "press is preparing" in one(browser, "#about").text)
        browser.get(f"{found.url}/")
        wait_for(browser, lambda: one(browser, "#preparing").is_displayed())
        assert one(browser, "#preparing").text.startswith("press: preparing. The detector is made")
        browser.execute_script("window.isTheSamePage = true")
        go.set()
        wait_for(browser, lambda: not one(browser, "#preparing").is_displayed())
        found.inspect(picture(0), identity="0")
        wait_for(browser, lambda: len(all_of(browser, "#parts li.ok")) == 1)
        assert browser.execute_script("return window.isTheSamePage")


def test_thresholds_come_once_the_station_is_ready(browser, tmp_path, detector_file):
    with (
        held_preparations() as go,
        beginning(configuration(tmp_path, detector_file)) as found,
    ):
        browser.get(f"{found.url}/thresholds")
        wait_for(browser, lambda: "press is preparing" in one(browser, "#about").text)
        go.set()
        field = one(browser, "#threshold-number")
        wait_for(browser, lambda: field.get_property("value") != "")


def test_names_from_outside_run_nothing(browser, tmp_path, detector_file):
    name = "<img src=x onerror=document.title='broken'><script>document.title='broken'</script>"
    with served(configuration(tmp_path, detector_file)) as found:
        browser.get(f"{found.url}/")
        wait_for(browser, lambda: one(browser, "#connection").text == "Connected")
        found.inspect(picture(0), identity=name)
        wait_for(browser, lambda: one(browser, "#parts .name").text == name)
        one(browser, "#parts a").click()
        wait_for(browser, lambda: one(browser, "h1").text == name)
        for path in ("/history", "/thresholds"):
            browser.get(found.url + path)
            time.sleep(0.3)
            assert browser.title != "broken"


def test_shifts_are_a_chart_and_a_table_that_leads_to_the_parts(browser, tmp_path, detector_file):
    given = configuration(tmp_path, detector_file) | {"timezone": "Asia/Kathmandu"}
    with served(given) as found:
        found.inspect(picture(0), identity="0")
        found.inspect(picture(1), identity="1")
        browser.get(f"{found.url}/shifts")
        wait_for(browser, lambda: len(all_of(browser, "#rows tr")) == 21)
        assert one(browser, "#clock").text == "Clock of Asia/Kathmandu"
        first = one(browser, "#rows tr")
        assert first.text.endswith("(now) 0 2 2 0 0 0 0 0")
        for name in ("rate", "counts"):
            chart = one(browser, f"#{name} svg")
            assert chart.get_attribute("role") == "img"
            assert "the table has the numbers" in chart.get_attribute("aria-label")
        assert "now 2, at most 2" in one(browser, "#counts svg").get_attribute("aria-label")
        one(browser, "#most option[value='42']").click()
        wait_for(browser, lambda: len(all_of(browser, "#rows tr")) == 42)
        one(browser, "#rows a").click()
        wait_for(browser, lambda: one(browser, "h1").text == "History")
        assert [item.text for item in all_of(browser, "tbody th")] == ["1", "0"]


@pytest.mark.parametrize("size", [(1280, 900), (820, 1180), (500, 800)], ids=str)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_fit_and_ask_no_other_host(browser, tmp_path, detector_file, size, theme):
    import json

    with served(configuration(tmp_path, detector_file)) as found:
        found.inspect(picture(0), identity="0")
        sign_in(browser, found)
        browser.execute_script("localStorage.setItem('theme', arguments[0])", theme)
        browser.set_window_size(*size)
        for log in ("browser", "performance"):
            browser.get_log(log)  # what was before is gone then
        for path in PAGES:
            browser.get(found.url + path)
            time.sleep(0.4)
            wide = "return document.documentElement.scrollWidth - innerWidth"
            assert browser.execute_script(wide) <= 0, path
            dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
            shade = np.mean([int(n) for n in dark.strip("rgb()").split(",")])
            assert (shade < 100) == (theme == "dark")
            small = [
                item.text or item.get_attribute("id")
                for item in all_of(browser, "button, .button, select, nav a")
                if item.is_displayed() and item.size["height"] < 43
            ]
            assert small == [], f"{path}: too small for a finger"
        messages = [
            json.loads(item["message"])["message"] for item in browser.get_log("performance")
        ]
        asked = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        assert asked
        own = (f"{found.url}/", "data:")  # data: the browser's own icons
        assert [url for url in asked if not url.startswith(own)] == []
        said = [item["message"] for item in browser.get_log("browser")]
        assert [text for text in said if "Content Security" in text or "Error" in text] == []


def test_everything_is_reached_by_keyboard(browser, tmp_path, detector_file):
    from selenium.webdriver.common.keys import Keys

    with served(configuration(tmp_path, detector_file)) as found:
        found.inspect(picture(0), identity="0")
        sign_in(browser, found)
        for path in PAGES:
            browser.get(found.url + path)
            time.sleep(0.4)
            wanted = browser.execute_script(
                "return [...document.querySelectorAll('a,button,input,select')]"
                ".filter(e => e.offsetParent && !e.disabled).length"
            )
            reached = set()
            one(browser, "body").send_keys(Keys.TAB)
            for _ in range(wanted + 40):  # a date has many places
                reached.add(browser.switch_to.active_element.id)
                browser.switch_to.active_element.send_keys(Keys.TAB)
            assert len(reached) >= wanted, path


def test_detectors_threshold_is_where_the_page_begins(browser, tmp_path, detector_file):
    threshold = Detector.load(detector_file).threshold
    with served(configuration(tmp_path, detector_file)) as found:
        found.inspect(picture(0), identity="0")
        browser.get(f"{found.url}/thresholds")
        field = one(browser, "#threshold-number")
        wait_for(browser, lambda: field.get_property("value") != "")
        assert float(field.get_property("value")) == pytest.approx(threshold, rel=1e-5)
        assert all_of(browser, "#apply") == []
