"""The story in a real browser: chapters scroll past a scene that shows what they speak of."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, PHONE, Page

from ulpm import demo
from ulpm.demo.network import network_scenario

pytest.importorskip("selenium.webdriver", reason="selenium, which drives the browser, is not installed")
pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page: Path = tmp_path_factory.mktemp("story") / "page.html"
    network = network_scenario()
    films = [dataclasses.replace(network, key=key) for key in ("saddle", "images")]
    demo.write_page(page, [*films, network], "ulpm demo")
    return page


def test_each_chapter_has_a_scene_of_its_own_and_says_what_is_measured(browser: Any, file: Path) -> None:
    page = Page(browser, file, link="#story", still=True)
    assert page.ask("story.sections.length") == 10
    seen, readings = [], []
    for i in range(10):
        page.ask(f"story.sections[{i}].scrollIntoView()")
        page.wait(f"story.index === {i} && !(story.run && !story.run.done)")
        seen.append(page.points("tale-scene"))
        readings.append(page.find("#tale-reading").text)
    # The three films of this page are the same network.
    assert len(set(seen)) == 8
    assert 119.5 < float(readings[0].split()[-1][:-1]) <= 120
    assert "No sample is predicted wrongly" in readings[3]
    assert all(word in readings[4] for word in ("NC1", "NC2", "NC3"))
    assert "training error 0%" in readings[5]
    assert page.complaints() == []


def test_a_chapter_plays_and_its_marks_can_be_dragged(browser: Any, file: Path) -> None:
    page = Page(browser, file, link="#story")
    page.wait("story.place > 0.05 && story.run.done")
    page.ask("(story.setPlaying(false), story.goTo(1))")
    angle = page.find("#tale-reading").text
    box = page.ask("byId('tale-scene').getBoundingClientRect().toJSON()")
    page.ask("story.goTo(0.5)")
    page.wait("!story.playing")
    x, y, _ = page.ask("story.scene.project(between(story.scene.means, story.frame)[0])")
    page.pull((box["left"] + x, box["top"] + y), (90.0, 60.0))
    assert page.ask("story.run.settings.moves.length") == 1
    page.wait("story.place >= 1")
    # Back to the triangle, as far as the time allows.
    assert abs(float(page.find("#tale-reading").text.split()[-1][:-1]) - float(angle.split()[-1][:-1])) < 1
    assert page.complaints() == []


def test_a_link_opens_a_chapter_and_a_chapter_opens_the_laboratory(browser: Any, file: Path) -> None:
    page = Page(browser, file, link="#story&step=9")
    page.wait("story.index === 8")
    page.ask("story.sections[8].querySelector('p:last-child a').click()")
    page.wait("mode === 'lab' && !lab.busy")
    assert page.ask("lab.settings[0].imbalance") == 10
    assert page.complaints() == []


def test_a_page_of_an_own_setting_leaves_out_chapters_whose_films_it_lacks(browser: Any, tmp_path: Path) -> None:
    own = dataclasses.replace(network_scenario(), key="own")
    demo.write_page(tmp_path / "own.html", [own], "ulpm demo")
    page = Page(browser, tmp_path / "own.html", link="#story", still=True)
    assert page.ask("story.sections.length") == 7


def test_after_scrolling_the_story_the_laboratory_opens_at_its_top(browser: Any, file: Path) -> None:
    page = Page(browser, file, link="#story", still=True)
    page.ask("window.scrollTo(0, 3000)")
    page.wait("story.index > 0 && window.scrollY > 0")
    page.ask("document.querySelector('#modes a[href=\"#lab\"]').click()")
    page.wait("mode === 'lab' && !lab.busy")
    assert page.ask("window.scrollY") == 0


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_text_and_scene_share_the_window(browser: Any, file: Path, size: tuple[int, int]) -> None:
    page = Page(browser, file, size=size, link="#story&step=2", still=True)
    page.wait("story.index === 1")
    assert page.ask("document.documentElement.scrollWidth") <= size[0]
    words = page.ask("story.sections[1].querySelector('h2').getBoundingClientRect().toJSON()")
    stage = page.ask("document.querySelector('.stage').getBoundingClientRect().toJSON()")
    assert 0 <= words["top"] < words["bottom"] < size[1]
    assert stage["bottom"] <= size[1]
    assert words["top"] >= stage["bottom"] or words["right"] <= stage["left"]


@pytest.mark.parametrize(("step", "index"), [("1.5", 1), ("2.0000001", 1), ("1e999", 9), ("-3", 0), ("NaN", 0)])
def test_a_link_to_a_step_that_is_no_whole_number_opens_one_near_it(
    browser: Any, file: Path, step: str, index: int
) -> None:
    page = Page(browser, file, link=f"#story&step={step}", still=True)
    page.wait(f"story.index === {index}")
    assert page.complaints() == []


def test_the_time_is_that_of_the_scene_while_the_flow_is_computed(browser: Any, file: Path) -> None:
    page = Page(browser, file, link="#story", still=True)
    # In one script, so that the flow has had time for its first steps only.
    place, computed = page.ask(
        "(() => { openStory(5); story.goTo(1); return [story.place, (story.scene.rows.length - 1) / (FRAMES - 1)]; })()"
    )
    assert place == computed < 1
    page.wait("story.run.done")
    assert page.ask("story.place") == 1
    assert page.find("#tale-time").text == "t = 10¹⁰⁰⁰"


def test_back_from_the_laboratory_opens_the_chapter_that_was_left(browser: Any, file: Path) -> None:
    page = Page(browser, file, link="#story", still=True)
    page.ask("story.sections[3].scrollIntoView()")
    page.wait("location.hash === '#story&step=4'")
    page.ask("story.sections[3].querySelector('p:last-child a').click()")
    page.wait("mode === 'lab' && !lab.busy")
    page.ask("history.back()")
    page.wait("mode === 'story' && story.index === 3")


def test_the_scene_is_whole_beside_each_chapter(browser: Any, file: Path) -> None:
    page = Page(browser, file, size=DESKTOP, link="#story", still=True)
    for i in range(10):
        page.ask(f"story.sections[{i}].scrollIntoView()")
        stage = page.ask("document.querySelector('.stage').getBoundingClientRect().toJSON()")
        assert 0 <= stage["top"] < stage["bottom"] <= DESKTOP[1]


def test_on_paper_all_chapters_are_dark_and_close_together(browser: Any, file: Path) -> None:
    page = Page(browser, file, link="#story", still=True)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        styles = page.ask("story.sections.map((each) => getComputedStyle(each).opacity)")
        bottom, text = page.ask(
            "(({ bottom }, last) => [bottom, last])(story.sections[9].getBoundingClientRect(), "
            "story.sections[9].lastElementChild.getBoundingClientRect().bottom)"
        )
        assert styles == ["1"] * 10
        assert bottom - text < 60
        assert page.ask("getComputedStyle(byId('tale-play')).display") == "none"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
