"""Lessons are rehearsed: each step of the plans is done on the page in a browser, which shows what the plan says."""

import doctest
import importlib
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Page, launched

from ulpm import demo
from ulpm.demo.network import network_scenario
from ulpm.demo.scenarios import flow_scenario
from ulpm.demo.starts import LECTURE

TEACHING = Path(__file__).parents[2] / "docs" / "teaching"
sys.path.insert(0, str(TEACHING))
plan = importlib.import_module("plan")

# The page is as fast to make as it is for a user.
pytestmark = pytest.mark.usefixtures("unchecked")

PLANS = ("lesson-30", "lesson-90")


def steps(name: str) -> list[Any]:
    return list(plan.steps((TEACHING / f"{name}.md").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from launched(tmp_path_factory.mktemp("profile"))


def slide(page: Page, where: float) -> None:
    """What a person does who drags the slider."""
    page.browser.execute_script(
        "const slider = document.getElementById('slider'); slider.value = Math.round(1000 * arguments[0]);"
        "slider.dispatchEvent(new Event('input'));",
        where,
    )


def do(page: Page, step: Any) -> dict[str, str]:
    """Choose the scenario of a step, move the slider to its time, and read the name and the number of each curve."""
    page.find(f"input[value={step.options['scenario']}]").find_element("xpath", "..").click()
    when, words = step.options["time"], page.ask("scenario.clock.words")
    if when.startswith("epoch "):
        slide(page, page.ask("scenario.clock.positions")[words.index(when)])
        assert page.time() == when
    else:
        slide(page, plan.place(when))
        frames = sorted(abs(plan.place(each) - plan.place(when)) for each in words)
        assert abs(plan.place(page.time()) - plan.place(when)) <= frames[1], f"{when}: the page is at {page.time()}"
    return shown(page)


def do_in_the_laboratory(page: Page, step: Any) -> dict[str, str]:
    """Follow the link of a step, wait until the flow has arrived, and compare controls and time with the step."""
    page.browser.execute_script(
        "location.hash = arguments[0]", plan.link(step.options, plan.place(step.options["time"]))
    )
    page.wait("mode === 'lab' && lab.ready === 1 && !lab.busy")
    for name, value in (pair.split("=") for pair in step.options["lab"].split("&")):
        assert float(page.find(f"#settings [name={name}]").get_attribute("value")) == float(value)
    page.wait("place === 1")
    assert page.time() == step.options["time"]
    return shown(page)


def follow(page: Page, step: Any) -> None:
    """Follow the link of a step in flow time."""
    link = plan.link(step.options, plan.place(step.options["time"]))
    page.browser.execute_script("location.hash = arguments[0]", link)


def shown(page: Page) -> dict[str, str]:
    """The number beside each name."""
    return dict(
        page.ask(
            "[...document.querySelectorAll('.panel b')].map((number) =>"
            " [number.parentElement.textContent.replace(number.textContent, '').trim(), number.textContent])"
        )
    )


def differences(step: Any, numbers: dict[str, str]) -> list[str]:
    """What a step says and the page does not show."""
    return [
        f"minutes {step.minutes}: {claim.name} is {numbers.get(claim.name)}, not {claim.relation} {claim.words}"
        for claim in step.claims
        if claim.name not in numbers or not claim.holds(numbers[claim.name])
    ]


def test_each_step_of_the_plans_shows_on_the_page_what_the_plan_says(browser: Any, tmp_path: Path) -> None:
    taught = [step for name in PLANS for step in steps(name) if "scenario" in step.options]
    wanted = {step.options["scenario"] for step in taught}
    scenarios = [flow_scenario(start) for start in (make() for make in LECTURE) if start.key in wanted]
    scenarios.append(network_scenario())
    demo.write_page(tmp_path / "demo.html", scenarios, "ulpm demo")
    page, titles = Page(browser, tmp_path / "demo.html"), {each.key: each.title for each in scenarios}
    found, before = [], ""
    for step in taught:
        key = step.options["scenario"]
        assert step.claims, f"minutes {step.minutes} say nothing that can be checked"
        if key != before:
            assert f"**{titles[key]}**" in step.text, f"minutes {step.minutes} do not name the scenario"
        before = key
        found += differences(step, do(page, step))
    assert len(taught) >= 14
    # The rehearsal can fail: at another time the page does not show what a step says.
    early = plan.Step("", {"scenario": "four", "time": "t = 0", "see": "NC1 spread < 10⁻³; proven gap > 1"}, "")
    assert len(differences(early, do(page, early))) == 2
    # The link of a step opens what a person has found by hand.
    by_hand = do(page, taught[-1])
    do(page, early)
    follow(page, taught[-1])
    page.wait("place === 1")
    assert shown(page) == by_hand
    for step in (step for name in PLANS for step in steps(name) if "lab" in step.options):
        found += differences(step, do_in_the_laboratory(page, step))
    assert found == []


def test_keys_in_the_plans_are_those_of_the_page() -> None:
    keys = [make().key for make in LECTURE] + [network_scenario().key]
    for step in (step for name in PLANS for step in steps(name)):
        for number in re.findall(r"\(key (\d)\)", step.text):
            assert keys[int(number) - 1] == step.options["scenario"], f"minutes {step.minutes}"


@pytest.mark.parametrize("name", PLANS)
def test_the_minutes_of_a_plan_follow_one_another_and_each_step_says_what_to_do(name: str) -> None:
    found = steps(name)
    text = (TEACHING / f"{name}.md").read_text(encoding="utf-8")
    assert len(found) == text.count(":::{step}")
    minutes = [step.minutes.split("–") for step in found if step.minutes != "to spare"]
    assert [minutes[0][0], minutes[-1][1]] == ["0", name.removeprefix("lesson-")]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(minutes))
    for step in found:
        for word in ("Do", "Ask", "Expect"):
            assert f"\n{word}\n: " in f"\n{step.text}", f"minutes {step.minutes} have no {word!r}"
        if "page" in step.options:
            assert (TEACHING / f"{step.options['page']}.md").exists()


def test_words_of_the_page_are_read_as_numbers() -> None:
    assert plan.log10_of("6.9·10⁻¹²") == pytest.approx(-11.161151)
    assert plan.log10_of("10.3923") == pytest.approx(1.0167116)
    for nonsense in ("none yet", "–", "", "10e5"):
        with pytest.raises(ValueError, match="a number is written like"):
            plan.log10_of(nonsense)
    with pytest.raises(ValueError, match="a claim is written like"):
        plan.claims("NC1 is small")
    assert not plan.Claim("NC1 spread", "<", "1").holds("none yet")
    assert doctest.testmod(plan).failed == 0
