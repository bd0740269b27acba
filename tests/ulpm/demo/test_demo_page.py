"""The page in a real browser: all loads offline, time moves the points, and every scenario is what its run is."""

import base64
import dataclasses
import itertools
import json
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import DESKTOP, FRAME, PHONE, Page

import ulpm
from ulpm import demo
from ulpm.cli import main
from ulpm.demo.clock import flow_time
from ulpm.demo.network import network_scenario
from ulpm.demo.scenarios import flow_scenario
from ulpm.demo.starts import imbalanced, solved, triangle

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium, which drives the browser, is not installed")

# The page is as fast to make as it is for a user, and errors are those that a user sees.
pytestmark = pytest.mark.usefixtures("unchecked")

OWN = ("--class-counts", "6,6,6,3", "--feature-dim", "3", "--log10-time", "20", "--seed", "4")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, demo.Scenario]:
    """The page of a setting, as the command line writes it, and what it was written from."""
    page: Path = tmp_path_factory.mktemp("page") / "own.html"
    made: list[demo.Scenario] = []
    own_setting = demo.own_setting

    def keeping(*sizes: Any) -> demo.Scenario:
        made.append(own_setting(*sizes))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "own_setting", keeping)
        assert main(["demo", "--out", str(page), *OWN]) == 0
    return page, made[0]


@pytest.fixture(scope="module")
def own_page(own: tuple[Path, demo.Scenario]) -> Path:
    return own[0]


def assert_every_scenario_shows(page: Page, keys: Sequence[str]) -> None:
    captions, pictures = set(), set()
    assert page.ask("DATA.scenarios.map((each) => each.key)") == keys
    for i, key in enumerate(keys):
        page.press(str(i + 1))
        assert page.find(f"input[value={key}]").is_selected()
        captions.add(page.find("#caption").text)
        ends = []
        for end in (webdriver.Keys.HOME, webdriver.Keys.END):
            page.find("#slider").send_keys(end)
            ends.append(page.points())
        pictures.add(tuple(ends))
        assert len(page.browser.find_elements("css selector", ".plot .main-svg")) >= 3
        assert page.inked() > 0.004
    assert len(captions) == len(pictures) == len(keys)
    assert page.ask("performance.getEntriesByType('resource').length") == 0
    assert page.complaints() == []


def test_scenarios_of_all_kinds_load_offline_without_a_complaint(tmp_path: Path, browser: Any) -> None:
    made = [flow_scenario(make(), 10.0, frames=5) for make in (triangle, imbalanced, solved)]
    demo.write_page(tmp_path / "few.html", [*made, network_scenario()], "ulpm demo")
    assert_every_scenario_shows(Page(browser, tmp_path / "few.html"), ["three", "imbalanced", "solved", "network"])


@pytest.mark.slow
def test_every_scenario_of_the_lecture_loads_offline_without_a_complaint(
    tmp_path: Path, browser: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "demo.html"
    assert main(["demo", "--out", str(file), "--json", str(tmp_path / "demo.json")]) == 0
    result = json.loads((tmp_path / "demo.json").read_text())
    assert result["bytes"] == file.stat().st_size < 8e6
    assert "works offline" in capsys.readouterr().out
    assert len(result["scenarios"]) == 9
    assert_every_scenario_shows(Page(browser, file), result["scenarios"])


def test_the_slider_moves_the_points_and_the_numbers_are_those_of_the_run(
    browser: Any, own: tuple[Path, demo.Scenario]
) -> None:
    file, scenario = own
    page = Page(browser, file)
    assert page.time() == "t = 0"
    seen = [page.points()]
    for _ in range(3):
        page.find("#slider").send_keys(webdriver.Keys.PAGE_UP)
        seen.append(page.points())
    assert len(set(seen)) == 4
    page.find("#slider").send_keys(webdriver.Keys.END)
    assert page.time() == "t = 10²⁰"
    shown = [value.text for value in page.browser.find_elements("css selector", ".panel b")]
    assert shown == [curve.words[-1] for panel in scenario.panels for curve in panel.curves]
    assert page.complaints() == []


def test_the_marks_of_a_frame_are_those_of_the_state(browser: Any, own_page: Path) -> None:
    page = Page(browser, own_page)
    problem = ulpm.Problem([6, 6, 6, 3], 3)
    state = problem.random_state(4)
    scale = (2 * 4 / float(state.squared_norm)) ** 0.5
    drawn = page.ask("scene.rows[0].map((row) => Math.hypot(...row))")
    assert drawn == pytest.approx((scale * state.W.norm(dim=1)).tolist(), abs=1e-3)


def test_play_runs_to_the_end_and_pauses(browser: Any, own_page: Path) -> None:
    page = Page(browser, own_page)
    before = page.points()
    page.find("#play").click()
    assert page.find("#play").get_attribute("aria-label") == "Pause"
    time.sleep(0.5)
    page.find("#play").click()
    paused = page.time()
    assert page.ask("place") > 0
    assert page.points() != before
    time.sleep(0.2)
    assert page.time() == paused
    page.ask("goTo(0.995)")
    page.press(" ")
    deadline = time.monotonic() + 20
    while page.ask("playing") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert page.time() == "t = 10²⁰"
    assert page.find("#play").get_attribute("aria-label") == "Play"


def test_it_is_steered_by_keys_alone(browser: Any, own_page: Path) -> None:
    page = Page(browser, own_page)
    page.press(webdriver.Keys.ARROW_RIGHT)
    page.press(webdriver.Keys.ARROW_RIGHT)
    assert page.ask("frameAt(scenario.clock.positions, place)") == pytest.approx(2)
    page.press(webdriver.Keys.ARROW_LEFT)
    assert page.find("#slider").get_attribute("aria-valuetext") == page.time() != "t = 0"
    before, yaw = page.points(), page.ask("scene.yaw")
    page.press(webdriver.Keys.ARROW_RIGHT, "#scene")
    assert page.points() != before
    assert page.ask("scene.yaw") > yaw
    page.press(webdriver.Keys.END)
    page.press(webdriver.Keys.HOME)
    assert page.time() == "t = 0"


def test_motion_that_nobody_asked_for_stays_away(browser: Any, own_page: Path) -> None:
    page = Page(browser, own_page, still=True)
    yaw = page.ask("scene.yaw")
    page.find("#play").click()
    time.sleep(0.3)
    assert page.ask("place") > 0
    assert page.ask("scene.yaw") == yaw
    turning = Page(browser, own_page)
    turning.find("#play").click()
    time.sleep(0.3)
    assert turning.ask("scene.yaw") > yaw


@pytest.mark.parametrize("size", [DESKTOP, FRAME, PHONE])
def test_scene_and_controls_are_on_the_first_screen(browser: Any, own_page: Path, size: tuple[int, int]) -> None:
    page = Page(browser, own_page, size)
    assert page.ask("document.documentElement.scrollWidth") <= size[0]
    for selector in ("#play", "#slider", "#scene", "#caption"):
        box = page.ask(f"document.querySelector('{selector}').getBoundingClientRect().toJSON()")
        assert box["left"] >= 0
        assert box["right"] <= size[0]
        assert box["bottom"] <= size[1]
    assert min(page.find("#play").size.values()) >= 44


def test_in_a_frame_the_controls_do_not_cover_what_the_marks_mean(browser: Any, tmp_path: Path) -> None:
    demo.write_page(tmp_path / "many.html", [network_scenario()] * 8, "ulpm demo")
    page = Page(browser, tmp_path / "many.html", FRAME)
    legend, controls = page.find("figcaption").rect, page.find(".controls").rect
    assert legend["y"] + legend["height"] <= controls["y"]


def test_no_label_of_the_time_axis_runs_into_another(
    browser: Any, tmp_path: Path, own: tuple[Path, demo.Scenario]
) -> None:
    clock = flow_time(torch.linspace(0, 2302.585, len(own[1].clock.positions), dtype=torch.float64, device="cpu"))
    demo.write_page(tmp_path / "late.html", [dataclasses.replace(own[1], clock=clock)], "ulpm demo")
    for size in (DESKTOP, PHONE):
        page = Page(browser, tmp_path / "late.html", size)
        ticks = page.browser.find_elements("css selector", "#ticks span")
        boxes = [tick.rect for tick in ticks if tick.is_displayed()]
        assert len(boxes) >= 4
        for left, right in itertools.pairwise(boxes):
            assert left["x"] + left["width"] + 3 < right["x"]


def test_the_name_of_the_optimum_is_at_the_end_that_its_panel_says(browser: Any, tmp_path: Path) -> None:
    demo.write_page(tmp_path / "network.html", [network_scenario()], "ulpm demo")
    page = Page(browser, tmp_path / "network.html")
    word, plot = (page.find(f".panel:last-child {part}").rect for part in (".annotation-text", ".plot"))
    assert page.find(".panel:last-child .annotation-text").text.startswith("v* = ")
    assert word["x"] - plot["x"] < plot["width"] / 4


def test_the_command_that_makes_the_page_is_shown_as_one(browser: Any, own_page: Path) -> None:
    page = Page(browser, own_page)
    assert page.find("#origin code").text.startswith("ulpm demo --out own.html --class-counts 6,6,6,3")
    assert "`" not in page.find("#origin").text


def test_everything_that_acts_has_a_name(browser: Any, own_page: Path) -> None:
    page = Page(browser, own_page)
    for selector in ("#play", "#slider", "#scene"):
        assert page.find(selector).accessible_name
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    acting = [node for node in nodes if node.get("role", {}).get("value") in ("button", "slider", "radio")]
    assert acting
    assert all(node["name"]["value"] for node in acting)


def test_mistakes_get_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.html"
    mistakes = {
        "needs both --class-counts and --feature-dim": ["--feature-dim", "3"],
        "class counts are written like": ["--class-counts", "many", "--feature-dim", "3"],
        "at least 2 classes": ["--class-counts", "5", "--feature-dim", "3"],
    }
    for message, arguments in mistakes.items():
        assert main(["demo", "--out", str(file), *arguments]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not file.exists()


def test_data_cannot_end_the_script_that_holds_it(tmp_path: Path) -> None:
    scenario = demo.own_setting([2, 2], 2, seed=0, log10_time=1)
    demo.write_page(tmp_path / "page.html", [scenario], "ulpm demo --out </script><b>.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "</script><b>" not in text
    data = text.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert json.loads(data)["command"] == "ulpm demo --out </script><b>.html"


def test_marks_are_sixteen_bit_integers_of_either_sign(own_page: Path) -> None:
    text = own_page.read_text(encoding="utf-8")
    data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    (scenario,) = data["scenarios"]
    raw = base64.b64decode(scenario["rows"])
    values = struct.unpack(f"<{len(raw) // 2}h", raw)
    assert len(values) == len(scenario["clock"]["positions"]) * 4 * 3
    assert min(values) < 0 < max(values)
