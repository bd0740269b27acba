"""The runner saves the results of each experiment as soon as it ends, and names what fails."""

import dataclasses
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from matplotlib.figure import Figure

import theory_experiments
from theory_experiments.__main__ import main
from theory_experiments.harness import experiment_page, experiments, report, results, runner, theorems_page
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from ulpm.support import files

FACTS: dict[str, Any] = {"config": {}, "negative_control_configs": {}, "command": "", "hardware": "", "versions": {}}
RESULTS = Path(theory_experiments.__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    size: float = 1.0


def experiment(name: str, measured: float = 0.5, control: float = 9.0) -> Any:
    """A module whose only claim is measured ≤ size."""
    module: Any = ModuleType(f"theory_experiments.theorems.{name}")
    parts = ("Hypotheses: none | at all.", "Source: us.", "Negative controls: a larger number.", "Not verified: less.")
    module.__doc__ = "\n".join(["All is well.", "", *parts])
    module.TITLE = name.capitalize()
    module.FULL, module.QUICK = Config(), Config(starts=2)
    module.NEGATIVE_CONTROLS = {"a larger number": Config(starts=2, size=-control)}
    module.LEARNT = "It is small."
    module.EXPLANATION = "It is flat."

    def simulate(config: Config, work: Work) -> float:
        work.tell("[working]")
        return measured if config.size > 0 else -config.size

    def check(config: Config, data: float) -> list[Claim]:
        return [Claim(f"Size over {config.starts} starts.", data, "<=", 1.0, "it is one")]

    module.simulate, module.check, module.plot = simulate, check, lambda config, data: Figure()
    return module


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put experiments in the place of the real ones."""

    def replace(*modules: Any) -> None:
        for place in (experiment_page, experiments, runner, theorems_page):
            monkeypatch.setattr(place, "EXPERIMENTS", modules)

    return replace


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def test_a_run_leaves_claims_figures_and_a_report(tmp_path: Path, known: Callable[..., None]) -> None:
    known(experiment("one"))
    assert main(["--out", str(tmp_path), "--json", str(tmp_path / "own.json")]) == 0
    document = read(tmp_path / "claims.json")
    assert document == read(tmp_path / "own.json")
    (claim,) = document["claims"]
    expected = {"experiment": "one", "measured": 0.5, "comparator": "<=", "bound": 1.0, "holds": True}
    assert expected.items() <= claim.items()
    assert claim.keys() == {*expected, "statement", "reason"}
    assert document["negative_controls"][0]["variant"] == "a larger number"
    assert not document["negative_controls"][0]["holds"]
    facts = document["experiments"]["one"]
    assert facts["settings"] == "FULL"
    assert facts["command"] == f"python -m theory_experiments --out {tmp_path} --json {tmp_path / 'own.json'}"
    assert {"hardware", "versions", "config"} <= facts.keys()
    assert (tmp_path / "one.png").exists()
    overview = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| [One](one.md) | 1 of 1 | 1 of 1 | verified |" in overview
    assert "- [One](one.md): It is small." in overview
    page = (tmp_path / "one.md").read_text(encoding="utf-8")
    for words in ("**All is well.**", "None | at all.", "**Claim 1**: It is one.", "It is small.", "It is flat."):
        assert words in page
    assert "1 of 1 negative controls fail, as they must" in page
    assert "**A larger number.**" in page


def test_a_page_fits_a_phone_and_gives_each_reason_once(known: Callable[..., None]) -> None:
    module = experiment("one")
    known(module, experiment("two"))
    module.__doc__ = module.__doc__.replace("less.", "less, see two.")
    a, b = (Claim("Size.", 0.5, "<=", 1.0, reason) for reason in ("it is one", "it is so"))
    outcome = results.Outcome("one", (a, b, a, a), {"none": (a,)}, {**FACTS, "settings": "QUICK"})
    page = experiment_page.render(module, outcome, "report.md")
    assert "**Claims 1, 3–4**: It is one." in page
    assert "**Claim 2**: It is so." in page
    assert "see [two](two.md)." in page
    assert "**Verdict: not verified**, with QUICK settings only." in page
    assert "**Learnt with the FULL settings.** It is small." in page
    assert "- [One](one.md), with the FULL settings: It is small." in report.render([module], {"one": outcome})
    assert "**Not detected: all claims hold.**" in page
    assert {line.count(" | ") for line in page.splitlines() if line.startswith("| ")} == {1}


def test_the_same_run_leaves_the_same_files(tmp_path: Path, known: Callable[..., None]) -> None:
    known(experiment("one"))
    files = ("claims.json", "report.md", "one.md", "one.png")
    main(["--out", str(tmp_path)])
    before = [(tmp_path / file).read_bytes() for file in files]
    main(["--out", str(tmp_path)])
    assert [(tmp_path / file).read_bytes() for file in files] == before


def test_a_claim_that_fails_makes_the_exit_status_1(
    tmp_path: Path, known: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    known(experiment("one", measured=2.0), experiment("two"))
    assert main(["--out", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert "fails: Size over 32 starts. 2, not <= 1" in output.err
    assert "1 of 2 experiments verified" in output.out
    assert "**not verified**" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert main(["two", "--out", str(tmp_path)]) == 0


def test_a_negative_control_that_passes_makes_the_exit_status_1(
    tmp_path: Path, known: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    known(experiment("one", control=0.1))
    assert main(["--out", str(tmp_path)]) == 1
    assert "not detected: a larger number" in capsys.readouterr().err


def test_running_one_again_replaces_only_its_entries(tmp_path: Path, known: Callable[..., None]) -> None:
    known(experiment("one"), experiment("two"))
    main(["--out", str(tmp_path)])
    known(experiment("one", measured=0.25), experiment("two", measured=0.75))
    main(["--only", "two", "--quick", "--seeds", "5", "--out", str(tmp_path)])
    document = read(tmp_path / "claims.json")
    assert [(claim["experiment"], claim["measured"]) for claim in document["claims"]] == [("one", 0.5), ("two", 0.75)]
    assert document["experiments"]["two"]["config"]["starts"] == 5
    assert document["experiments"]["two"]["settings"] == "QUICK"
    assert document["experiments"]["one"]["config"]["starts"] == 32
    assert [entry["experiment"] for entry in document["negative_controls"]] == ["one", "two"]


def test_a_run_waits_until_another_has_written_its_results(tmp_path: Path, known: Callable[..., None]) -> None:
    one = experiment("one")
    known(one)
    run = threading.Thread(target=runner.run, args=([one], tmp_path))
    with files.locked(tmp_path):
        run.start()
        while run.is_alive() and not (tmp_path / "one.png").exists():
            time.sleep(0.01)
        run.join(0.3)
        assert run.is_alive()
        assert not (tmp_path / "claims.json").exists()
    run.join()
    assert read(tmp_path / "claims.json")["experiments"].keys() == {"one"}


def test_the_page_of_theorems_is_written_from_the_results(
    tmp_path: Path, known: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    known(experiment("one"), experiment("two", measured=2.0), experiment("three"))
    out, page = tmp_path / "results", tmp_path / "docs" / "theorems.md"
    assert main(["--out", str(out), "--theorems-page", str(page)]) == 1
    assert "there are no results" in capsys.readouterr().err
    main(["one", "--out", str(out)])
    main(["two", "--quick", "--out", str(out)])
    assert main(["--out", str(out), "--theorems-page", str(page)]) == 0
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| **")]
    assert rows[0].startswith("| **[One](../results/one.md).** All is well.")
    assert "| verified: 1 of 1 claims hold" in rows[0]
    assert "**not verified** (QUICK settings only)" in rows[1]
    assert "not run yet" in rows[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["four"], "there is no experiment 'four': choose from one"),
        (["--only", "four"], "there is no experiment 'four'"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--device", "abacus"], "device 'abacus' is not available here"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, known: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    known(experiment("one"))
    assert main([*arguments, "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_damaged_results_are_refused_before_anything_is_run(
    tmp_path: Path, known: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    known(experiment("one"))
    (tmp_path / "claims.json").write_text("[1, 2]")
    assert main(["--out", str(tmp_path)]) == 1
    assert "is damaged or holds something else" in capsys.readouterr().err
    assert not (tmp_path / "one.png").exists()


def test_outcomes_come_back_from_their_file_as_they_went(tmp_path: Path) -> None:
    claims = (Claim("One.", float("inf"), ">=", 1.0, "because"),)
    outcome = results.Outcome("one", claims, {"wrong": (Claim("Two.", 0.0, ">=", 1.0, "so"),)}, {"settings": "FULL"})
    results.write(tmp_path / "claims.json", [outcome])
    assert results.read(tmp_path / "claims.json") == {"one": outcome}


@pytest.mark.parametrize("each", experiments.EXPERIMENTS, ids=experiments.name_of)
def test_every_experiment_offers_what_the_report_needs(each: Any) -> None:
    parts = experiment_page.docstring_parts(each)
    assert parts["Claim"].endswith(".")
    assert each.FULL.starts >= 32
    assert each.NEGATIVE_CONTROLS
    assert each.EXPLANATION.strip()
    assert re.fullmatch(r"[A-Z][^\n]+\.", each.LEARNT)
    own_test = Path(__file__).parents[1] / "theorems" / f"test_{experiments.name_of(each)}.py"
    assert own_test.exists()


def test_the_committed_report_and_pages_are_those_of_the_committed_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    out, page = Path("theory_experiments/results"), Path("docs/theorems.md")
    outcomes = results.read(out / "claims.json")
    # If not: python -m theory_experiments --out theory_experiments/results --theorems-page docs/theorems.md
    assert (out / "report.md").read_text(encoding="utf-8") == report.render(experiments.EXPERIMENTS, outcomes)
    for each in experiments.EXPERIMENTS:
        name = experiments.name_of(each)
        committed = (out / experiment_page.page_of(name)).read_text(encoding="utf-8")
        assert committed == experiment_page.render(each, outcomes[name], report.REPORT), name
    assert page.read_text(encoding="utf-8") == theorems_page.render(page, out, outcomes)


@pytest.mark.parametrize("name", results.read(RESULTS / "claims.json"))
def test_committed_results_are_full_runs_that_pass_with_their_figures(name: str) -> None:
    outcome = results.read(RESULTS / "claims.json")[name]
    assert outcome.passes
    assert outcome.facts["settings"] == "FULL"
    assert outcome.facts["config"]["starts"] >= 32
    assert (RESULTS / f"{name}.png").exists()


def test_a_docstring_without_hypotheses_is_refused() -> None:
    module = experiment("one")
    module.__doc__ = "All is well.\n\nSource: us.\n"
    with pytest.raises(ValueError, match="Hypotheses"):
        experiment_page.docstring_parts(module)


def test_stars_and_underscores_of_symbols_stay_as_they_are(known: Callable[..., None]) -> None:
    markdown_it = pytest.importorskip("markdown_it", reason="the tools of the site are not installed")
    module = experiment("one")
    known(module)
    symbols = "‖Z‖_* = v*, ‖R‖_op = 1 and `nc2_*` with 2v*q ≥ v*/2."
    module.LEARNT, module.EXPLANATION = symbols, f"*So* {symbols}"
    claim = Claim(symbols, 0.5, "<=", 1.0, symbols)
    page = experiment_page.render(module, results.Outcome("one", (claim,), {}, {**FACTS, "settings": "FULL"}), "x")
    html = markdown_it.MarkdownIt().enable("table").render(page)
    assert html.count(symbols.replace("`nc2_*`", "<code>nc2_*</code>")) == 4
    assert "<em>So</em>" in html


def test_all_links_of_the_committed_pages_lead_to_files() -> None:
    for page in RESULTS.glob("*.md"):
        links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        assert links
        for link in links:
            assert (RESULTS / link).exists(), (page.name, link)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_with_a_sentence_that_says_what_is_kept(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        assert signal.getsignal(number) is not signal.SIG_DFL  # which would end the tests
        os.kill(os.getpid(), number)

    monkeypatch.setattr("theory_experiments.command.run", stop)
    assert main(["rates", "--out", str(tmp_path)]) == 128 + number
    assert capsys.readouterr().err == (
        "theory_experiments: interrupted; the results have the experiments that ended: name the others.\n"
    )
