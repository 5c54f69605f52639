"""The pages in a real browser, headless: they open without a complaint, show every picture, and ask no network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import small_job
from helpers.reports import REPORT

from compute_server import cli
from compute_server.bench_scene import bench_scene
from shared import messages as m
from shared.wire import save_message

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
Service = webdriver.ChromeService

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromium-driver")

#: A laptop's screen, less what the browser takes.
WIDTH, HEIGHT = 1366, 680
#: Screenshots are left here, for whoever wants to look.
SHOTS = Path(os.environ.get("ASSISTIVE_SHOTS", "out/pages"))
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"media": "screen", "features": [{"name": "prefers-color-scheme", "value": "light"}]},
    "dark": {"media": "screen", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    "print": {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "light"}]},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--window-size={WIDTH},{HEIGHT}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    opened.set_page_load_timeout(120)
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A real job's page (with a patch, and seen from all around), and its comparison with an old report."""
    folder = tmp_path_factory.mktemp("pages")
    # A patch that is large enough to be seen in the figures of the survey, before and after.
    large = {"patch": 0.5, "patch_site": "random", "alpha": 0.1}
    job = small_job("page", bench_scene(64), steps=12, views=2, held_out_views=2, survey=4, **large)
    save_message(m.Submit(job), folder / "a.job")
    assert cli.main(["run", str(folder / "a.job"), "--out", str(folder / "job")]) == 0
    (folder / "old").mkdir()
    (folder / "old" / "report.json").write_text(json.dumps(REPORT), encoding="utf-8")
    compared = folder / "compare.html"
    assert cli.main(["compare", str(folder / "job"), str(folder / "old"), "--out", str(compared)]) == 0
    return {"report": folder / "job" / "report.html", "compare": compared}


def opened(browser: Any, page: Path, look: str) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", LOOKS[look])
    for log in ("browser", "performance"):  # of pages before this one
        browser.get_log(log)
    browser.get(page.as_uri())


@pytest.mark.parametrize("look", list(LOOKS))
@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_page_opens_without_a_complaint_and_shows_every_picture(
    browser: Any, pages: dict[str, Path], name: str, look: str
) -> None:
    opened(browser, pages[name], look)
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    widths = browser.execute_script("return [...document.images].map((image) => image.naturalWidth)")
    assert len(widths) >= 4
    assert min(widths) > 0
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= WIDTH
    SHOTS.mkdir(parents=True, exist_ok=True)
    tall = browser.execute_script("return document.documentElement.scrollHeight")
    browser.set_window_size(WIDTH, min(6000, tall + 200))
    browser.save_screenshot(str(SHOTS / f"{name} {look}.png"))
    browser.set_window_size(WIDTH, HEIGHT)
    assert (SHOTS / f"{name} {look}.png").stat().st_size > 20_000


@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_page_asks_nothing_of_the_network(browser: Any, pages: dict[str, Path], name: str) -> None:
    opened(browser, pages[name], "light")
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}


def test_ink_and_paper_change_places_in_the_dark_and_plots_go_along(browser: Any, pages: dict[str, Path]) -> None:
    def colors(look: str) -> list[float]:
        opened(browser, pages["report"], look)
        script = """
            const light = (color) => Math.max(...color.match(/[\\d.]+/g).slice(0, 3).map(Number));
            const word = document.querySelector(".plot svg text");
            return [light(getComputedStyle(document.body).backgroundColor), light(getComputedStyle(word).fill)];
        """
        found: list[float] = browser.execute_script(script)
        return found

    paper, ink = colors("light")
    assert paper > 200 > 100 > ink
    paper, ink = colors("dark")
    assert ink > 200 > 100 > paper


def test_the_sphere_turns_switches_and_says_what_is_seen_from_where(browser: Any, pages: dict[str, Path]) -> None:
    opened(browser, pages["report"], "light")
    action = webdriver.ActionChains(browser)
    cell = "return document.querySelector('.ball path:last-of-type').getAttribute('d')"
    ball = browser.find_element("css selector", ".ball")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", ball)
    before = browser.execute_script(cell)
    action.move_to_element(ball).click_and_hold().move_by_offset(60, 20).release().perform()
    assert browser.execute_script(cell) != before
    said = browser.find_element("css selector", ".said").text
    assert "azimuth" in said
    assert "seen as" in said
    summed = browser.find_element("css selector", ".sum").text
    pressed = "return [...document.querySelectorAll('button')].map((each) => each.getAttribute('aria-pressed'))"
    assert browser.execute_script(pressed) == ["false", "true"]
    browser.find_element("css selector", "button[value='0']").click()
    assert browser.execute_script(pressed) == ["true", "false"]
    assert browser.find_element("css selector", ".sum").text != summed
    focused = browser.execute_script(
        "const path = document.querySelector('.ball path:last-of-type'); path.focus(); return path.ariaLabel"
    )
    assert focused.split(":")[0] in browser.find_element("css selector", ".said").text


def test_on_paper_a_still_picture_takes_the_place_of_the_sphere(browser: Any, pages: dict[str, Path]) -> None:
    shown = "return ['.sphere', '.still'].map((each) => document.querySelector(each).offsetHeight > 0)"
    opened(browser, pages["report"], "light")
    assert browser.execute_script(shown) == [True, False]
    opened(browser, pages["report"], "print")
    assert browser.execute_script(shown) == [False, True]


def test_without_script_the_still_picture_is_there(browser: Any, pages: dict[str, Path]) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened(browser, pages["report"], "light")
        assert browser.find_element("css selector", ".still").is_displayed()
        assert not browser.find_element("css selector", ".sphere").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_what_a_hostile_report_brings_along_does_not_run(browser: Any, tmp_path: Path) -> None:
    from shared.report_page import page

    script = "document.title = 'taken'"
    plot = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{script}"><script>{script}</script></svg>'
    (tmp_path / "hostile.html").write_text(page(REPORT, {}, {"steps": plot}), encoding="utf-8")
    opened(browser, tmp_path / "hostile.html", "light")
    assert browser.title == "Car: sports car"
