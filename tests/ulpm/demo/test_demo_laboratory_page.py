"""The laboratory in a real browser: controls, marks that are dragged, links, and the numbers of the package."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import DESKTOP, PHONE, Page

import ulpm
from ulpm import demo
from ulpm.demo.network import network_scenario

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium, which drives the browser, is not installed")
pytestmark = pytest.mark.usefixtures("unchecked")

QUICK = "#lab&K=3&n=4&d=3&end=3&at=0.5"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page: Path = tmp_path_factory.mktemp("laboratory") / "page.html"
    demo.write_page(page, [network_scenario()], "ulpm demo")
    return page


def opened(browser: Any, file: Path, link: str = QUICK, **view: Any) -> Page:
    page = Page(browser, file, link=link, **view)
    page.wait("!lab.busy")
    return page


def mark(page: Page, kind: str, k: int) -> tuple[float, float]:
    """Where a mark is in the window."""
    box = page.ask("byId('scene').getBoundingClientRect().toJSON()")
    x, y, _ = page.ask(f"scene.project(between(scene.{kind}s, frameNow())[{k}])")
    return box["left"] + x, box["top"] + y


def test_its_numbers_are_those_of_the_package_from_the_same_start(browser: Any, file: Path) -> None:
    page = opened(browser, file, "#lab&K=4&n=12&d=3&end=100")
    start = torch.tensor(page.ask("Array.from(lab.runs[0].frames[0].y)"), dtype=torch.float64, device="cpu").view(-1, 3)
    problem = ulpm.Problem([12] * 4, 3)
    state = ulpm.State(start[:4].clone(), start[4:].T.contiguous())
    path = ulpm.gradient_flow(problem, state, log10_time=100.0, rtol=1e-8, records=2)
    end = page.ask(
        "(({ logValue, bounds, metrics }) => ({ logValue, bounds, metrics }))(lab.runs[0].frames[FRAMES - 1])"
    )
    assert end["logValue"] == pytest.approx(float(path.log_loss[-1]), rel=1e-6)
    assert end["bounds"]["margin"] == pytest.approx(float(path.margin[-1]), rel=1e-6)
    for key, value in end["metrics"].items():
        assert value == pytest.approx(float(path.metrics[key][-1]), rel=1e-6), key
    page.press(webdriver.Keys.END)
    assert page.time() == "t = 10¹⁰⁰"
    assert page.complaints() == []


def test_every_control_changes_the_scene_and_the_link(browser: Any, file: Path) -> None:
    page = opened(browser, file)
    changes = {
        "K": "4",
        "n": "9",
        "d": "5",
        "imbalance": "4",
        "scale": "2",
        "seed": "7",
        "loss": "focal",
        "strength": "4",
        "decayW": "0.1",
        "decayH": "0.01",
        "rate": "0.1",
        "end": "10",
    }
    seen, links = [page.points()], [page.ask("linkNow()")]
    for name, value in changes.items():
        page.ask(
            f"(() => {{ const {{ input }} = lab.inputs.{name}; input.value = '{value}'; "
            "input.dispatchEvent(new Event('input')); })()"
        )
        page.wait("!lab.busy")
        seen.append(page.points())
        links.append(page.ask("linkNow()"))
        assert f"&{name}={value}&" in links[-1]
    page.find(".another").click()
    page.wait("!lab.busy")
    seen.append(page.points())
    assert len(set(seen)) == len(changes) + 2
    assert len(set(links)) == len(changes) + 1
    assert page.complaints() == []


def test_both_factors_are_decayed_or_none(browser: Any, file: Path) -> None:
    page = opened(browser, file, "#lab&K=3&n=4&d=3&decay=0.01&end=1")
    decays = "[lab.settings[0].decayW, lab.settings[0].decayH]"
    assert page.ask(decays) == [0.01, 0.01]
    assert "&decayW=0.01&decayH=0.01&" in page.ask("linkNow()")
    for name, value, found in (("decayH", 0.1, [0.01, 0.1]), ("decayW", 0, [0, 0]), ("decayH", 0.001, [0.001, 0.001])):
        page.ask(f"lab.set('{name}', {value})")
        page.wait("!lab.busy")
        assert page.ask(decays) == found
        shown = [page.ask(f"Number(lab.inputs.{each}.input.value)") for each in ("decayW", "decayH")]
        assert shown == found
    assert page.complaints() == []


def test_a_link_opens_what_its_sender_saw(browser: Any, file: Path) -> None:
    page = opened(browser, file, QUICK + "&rate=0.1")
    page.find(".compare").click()
    page.ask("lab.set('imbalance', 4), lab.set('loss', 'smoothed')")
    page.wait("!lab.busy")
    page.ask("goTo(0.75)")
    link, seen = page.ask("linkNow()"), [page.points(name) for name in ("scene", "scene-beside")]
    words = [value.text for value in page.browser.find_elements("css selector", ".panel b, .panel small")]
    assert seen[0] != seen[1]
    other = opened(browser, file, link)
    assert [other.points(name) for name in ("scene", "scene-beside")] == seen
    assert [value.text for value in other.browser.find_elements("css selector", ".panel b, .panel small")] == words
    assert other.ask("linkNow()") == link
    other.find(".compare").click()
    other.wait("!lab.busy")
    assert not other.find("#scene-beside").is_displayed()
    assert other.complaints() == []


def test_a_mark_that_is_dragged_stays_under_the_pointer_and_the_flow_goes_on(browser: Any, file: Path) -> None:
    page = opened(browser, file, still=True)
    before = page.ask("lab.runs[0].frames.map(({ y }) => Array.from(y))")
    for kind, way in (("mean", (40.0, -25.0)), ("row", (-30.0, -10.0))):
        from_x, from_y = mark(page, kind, 1)
        page.pull((from_x, from_y), way)
        page.wait("!lab.busy")
        x, y = mark(page, kind, 1)
        # ρ changes with the move, and all lengths are divided by it.
        assert math.hypot(x - from_x - way[0], y - from_y - way[1]) < 0.4 * math.hypot(*way)
    after = page.ask("lab.runs[0].frames.map(({ y }) => Array.from(y))")
    assert after[:60] == before[:60]
    assert after[61] != before[61]
    seen = page.points()
    assert opened(browser, file, page.ask("linkNow()"), still=True).points() == seen
    page.find(".undo").click()
    page.wait("!lab.busy")
    assert page.points() != seen
    assert "moves" not in page.ask("linkNow()")


def test_marks_are_moved_by_keys_alone(browser: Any, file: Path) -> None:
    page = opened(browser, file)
    page.press("m")
    before = mark(page, "mean", 0)
    page.press(webdriver.Keys.SHIFT + webdriver.Keys.ARROW_RIGHT)
    page.wait("!lab.busy")
    assert mark(page, "mean", 0)[0] > before[0] + 3
    assert page.ask("lab.settings[0].moves.length") == 1
    assert page.complaints() == []


def test_moves_that_make_numbers_overflow_end_the_picture_with_a_sentence(browser: Any, file: Path) -> None:
    page = opened(browser, file, "#lab&K=3&n=2&d=3&end=1&moves=" + "~".join(["0_row_0_9_0_0"] * 400))
    assert "could not be followed any further" in page.find("#caption").text
    assert page.complaints() == []


def test_the_picture_is_saved_as_it_is_seen(browser: Any, file: Path) -> None:
    page = opened(browser, file)
    size = page.ask("[byId('scene').width, byId('scene').height]")
    height, width, _ = page.picture(page.ask("pictureUrl()")).shape
    assert [width, height - 40] == size
    page.find("#hide").click()
    assert not page.find("#panels").is_displayed()
    page.find("#hide").click()
    assert page.find("#panels").is_displayed()
    page.find("#speed").click()
    assert page.find("#speed").text == "2×"
    assert page.complaints() == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_laboratory_fits_the_window_and_all_that_acts_has_a_name(
    browser: Any, file: Path, size: tuple[int, int]
) -> None:
    page = opened(browser, file, size=size)
    assert page.ask("document.documentElement.scrollWidth") <= size[0]
    assert page.ask("document.scrollingElement.scrollTop") == 0
    for selector in ("#play", "#slider", "#scene"):
        box = page.ask(f"document.querySelector('{selector}').getBoundingClientRect().toJSON()")
        assert box["bottom"] <= size[1]
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    acting = ("button", "slider", "radio", "combobox", "spinbutton", "link")
    found = [node for node in nodes if node.get("role", {}).get("value") in acting]
    assert len(found) > 15
    assert all(node["name"]["value"] for node in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("link", "seconds"),
    [("#lab&K=4&n=12&d=3&end=1000", 1.0), ("#lab&K=10&n=20&d=16&end=100", 3.0), ("#lab&K=12&n=12&d=2&end=1000", 5.0)],
)
def test_the_flow_ends_while_you_wait(browser: Any, file: Path, link: str, seconds: float) -> None:
    took = min(opened(browser, file, link).ask("lab.milliseconds") for _ in range(3))
    assert took < 1000 * seconds


def shown_beside(page: Page, panel: int) -> list[tuple[list[float | None], list[str]]]:
    """Heights and words of the thin curves of a panel."""
    beside = page.ask(f"scenario.panels[{panel}].curves.map((curve) => curve.others[0])")
    return [(each["heights"], each["words"]) for each in beside]


def test_the_axes_span_both_settings(browser: Any, file: Path) -> None:
    page = opened(browser, file, "#lab&K=4&n=6&d=3&end=3&B.K=4&B.n=6&B.d=2&B.end=3&active=A")
    frames = page.ask("lab.runs[1].frames.map((frame) => frame.metrics.nc1_pinv)")
    (heights, _), *_ = shown_beside(page, 0)
    assert min(math.log10(x) for x in frames) < min(page.ask("scenario.panels[0].curves[0].heights"))
    assert heights == pytest.approx([math.log10(x) for x in frames])
    page = opened(browser, file, "#lab&K=4&n=6&d=3&end=3&decay=0.01&B.K=4&B.n=6&B.d=3&active=A")
    norms, top = page.ask("lab.runs[1].frames.map(({ norms }) => norms[0])"), page.ask("scenario.panels[2].range[1]")
    assert max(page.ask("scenario.panels[2].curves[0].heights")) < max(norms) < top
    assert shown_beside(page, 2)[0][0] == pytest.approx(norms)
    assert page.complaints() == []


def test_the_upper_bound_is_in_the_picture_at_the_end(browser: Any, file: Path) -> None:
    page = opened(browser, file, "#lab&K=8&n=4&d=2&end=100")
    heights, (_, top) = page.ask("scenario.panels[2].curves[0].heights"), page.ask("scenario.panels[2].range")
    assert heights[-1] == page.ask("lab.runs[0].frames[FRAMES - 1].bounds.upper") < top


def test_a_loss_of_finite_margins_shows_no_bounds_of_the_margin_problem(browser: Any, file: Path) -> None:
    page = opened(browser, file, "#lab&K=3&n=4&d=3&end=3&B.K=3&B.n=4&B.d=3&B.loss=squared&active=A")
    for heights, words in shown_beside(page, 2):
        assert set(heights) == {None}
        assert set(words) == {"none"}


def test_descent_that_diverges_says_so(browser: Any, file: Path) -> None:
    page = opened(browser, file, "#lab&K=4&n=40&d=3&loss=squared&end=3&rate=5")
    assert "Gradient descent diverges: η = 5 is too large." in page.find("#caption").text
    assert shown_beside(page, 1)[0][1][-1] == "ended"
    assert page.find("select[name=rate]").get_attribute("value") == "5"
    assert "diverges" not in opened(browser, file, QUICK + "&rate=0.1").find("#caption").text


@pytest.mark.parametrize(("dim", "merged"), [(3, True), (4, True), (6, False)])
def test_squared_error_merges_the_features_of_a_class_unless_they_have_room(
    browser: Any, file: Path, dim: int, merged: bool
) -> None:
    page = opened(browser, file, f"#lab&K=4&n=6&d={dim}&loss=squared&end=30")
    metrics = page.ask("lab.runs[0].frames[FRAMES - 1].metrics")
    assert (metrics["nc1_distance"] < 1e-6) == merged
    assert metrics["nc2_angle_means"] > 1e-3
    assert ("The features of each class have merged" in page.find("#caption").text) == merged


def test_a_seed_that_cannot_be_taken_gives_way_to_the_one_that_is_shown(browser: Any, file: Path) -> None:
    page = opened(browser, file, QUICK + "&seed=7")
    field = page.find("input[name=seed]")
    field.send_keys(webdriver.Keys.HOME + "-" + webdriver.Keys.TAB)
    assert field.get_attribute("value") == "7"
    assert page.ask("lab.settings[0].seed") == 7


def test_the_numbers_of_two_settings_and_descent_fit_a_phone(browser: Any, file: Path) -> None:
    page = opened(browser, file, "#lab&K=4&n=6&d=3&end=3&rate=0.3&B.K=4&B.n=6&B.d=3&active=A", size=PHONE)
    page.ask("goTo(1)")
    ends = page.ask("[...document.querySelectorAll('.panel small')].map((each) => each.getBoundingClientRect().right)")
    assert max(ends) <= PHONE[0]
    assert page.ask("document.documentElement.scrollWidth") <= PHONE[0]
