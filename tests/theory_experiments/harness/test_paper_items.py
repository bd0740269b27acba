"""Every numbered item of the paper has a file, and a verdict read from the results."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from theory_experiments.harness import results, theorems_page
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.experiments import EXPERIMENTS, name_of
from theory_experiments.harness.paper_items import ITEMS, Item
from theory_experiments.harness.results import Outcome

ROOT = Path(__file__).parents[3]
OUT, PAGE = ROOT / "theory_experiments" / "results", ROOT / "docs" / "theorems.md"


def outcome(name: str, measured: float = 0.0, settings: str = "FULL") -> Outcome:
    claim = Claim("A size.", measured, "<=", 1.0, "it is one")
    return Outcome(
        name, (claim,), {"a larger one": (dataclasses.replace(claim, measured=9.0),)}, {"settings": settings}
    )


def row(number: str, outcomes: Mapping[str, Outcome]) -> list[str]:
    lines = theorems_page.render(PAGE, OUT, outcomes).splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {number} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_items_are_those_that_the_paper_numbers() -> None:
    theorems = ["Theorem 3.1", "Theorem 3.2", "Corollary 3.1", "Example 3.1", "Theorem 3.3", "Theorem 3.4"]
    rest = ["Figure 1", "Figure 2", "Appendix D"]
    assert [item.number for item in ITEMS] == ["(1.1)", "Definition 2.1", "(2.3)", *theorems, *rest]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.number)
def test_every_item_names_files_that_exist_and_either_an_experiment_or_a_page_of_results(item: Item) -> None:
    assert item.files
    for file in (*item.files, *filter(None, [item.results])):
        assert (ROOT / file).exists(), file
    assert bool(item.experiment) != bool(item.results)
    assert not item.experiment or item.experiment in map(name_of, EXPERIMENTS)


def test_every_theorem_of_the_paper_is_the_source_of_the_experiment_that_it_names() -> None:
    sources = {name_of(experiment): experiment.__doc__ or "" for experiment in EXPERIMENTS}
    for item in ITEMS:
        if re.match(r"(Theorem|Corollary|Example) ", item.number):
            assert item.number in sources[item.experiment], item.number


@pytest.mark.parametrize(
    ("measured", "settings", "words"),
    [
        (0.0, "FULL", "verified: 1 of 1 claims hold, 1 of 1 negative controls fail, as they must"),
        (0.0, "QUICK", "verified (QUICK settings only): 1 of 1"),
        (2.0, "FULL", "**not verified**: 0 of 1 claims hold"),
    ],
)
def test_a_verdict_is_that_of_the_results(measured: float, settings: str, words: str) -> None:
    cells = row("Theorem 3.3", {"lowest_loss": outcome("lowest_loss", measured, settings)})
    assert cells[2].startswith(f"[The lowest loss](../theory_experiments/results/lowest_loss.md): {words}")


def test_an_item_whose_experiment_was_not_run_has_no_verdict_and_no_page() -> None:
    assert row("Theorem 3.1", {"lowest_loss": outcome("lowest_loss")})[2] == "not run yet"


def test_the_figures_of_networks_point_to_the_results_of_the_networks() -> None:
    for number in ("Figure 1", "Appendix D"):
        assert "(../real_experiments/results/results.md)" in row(number, {})[2]


def test_all_links_of_the_committed_page_lead_to_files() -> None:
    text = theorems_page.render(PAGE, OUT, results.read(OUT / "claims.json"))
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 40
    for link in links:
        assert (PAGE.parent / link).exists(), link
