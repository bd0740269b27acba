"""Runs experiments one after the other, and saves the results of each as soon as it ends."""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from theory_experiments.harness import results
from theory_experiments.harness.circumstances import circumstances
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.experiments import EXPERIMENTS, Experiment, name_of
from theory_experiments.harness.report import write_report
from theory_experiments.harness.results import CLAIMS, Outcome
from theory_experiments.harness.work import Work
from ulpm.distributed import ALONE, Shard
from ulpm.plotting import house_style, save_figure
from ulpm.support import checks, files

__all__ = ["run", "run_experiment"]


def run(
    experiments: Sequence[Experiment],
    out: Path,
    *,
    quick: bool = False,
    starts: int | None = None,
    device: str | None = None,
    command: str = "",
    shard: Shard = ALONE,
) -> list[Outcome]:
    """Run ``experiments``, each with its negative controls, and write claims.json, figures and pages into ``out``.

    After each experiment NAME, its entries in claims.json, NAME.png and all pages are replaced. The entries of others
    stay. ``starts`` and ``device`` override the configurations. Progress goes to standard error. The processes
    of the ``shard`` share the work. The leading one writes and prints.

    Returns: the outcomes, in order.
    Raises: ValueError for an impossible number of starts or device, OSError if a file cannot be written.
    """
    if starts is not None:
        checks.integer("--seeds", starts, minimum=1)
    if device is not None:
        checks.device(device)
    # Read before anything is computed: a damaged file must not cost an hour.
    shard.together(lambda: results.read(out / CLAIMS))
    console = Console(stderr=True, quiet=not shard.leads)
    done: list[Outcome] = []
    for experiment in experiments:
        name = name_of(experiment)
        config = _adapted(experiment.QUICK if quick else experiment.FULL, starts, device)
        began = time.monotonic()
        with console.status(name) as status:

            def tell(what: str, name: str = name, show: Callable[[str], object] = status.update) -> None:
                show(escape(f"{name}: {what}"))

            facts = {"settings": "QUICK" if quick else "FULL", "command": command, **circumstances(config, shard)}
            outcome = run_experiment(experiment, config, device, facts, out, Work(tell, shard))
        done.append(outcome)
        if not shard.leads:
            continue
        # Another run may have added to it meanwhile, and none may between reading and writing.
        with files.locked(out, wait=True):
            kept = {**results.read(out / CLAIMS), name: outcome}
            in_order = [kept[name_of(each)] for each in EXPERIMENTS if name_of(each) in kept]
            results.write(out / CLAIMS, in_order)
            write_report(out, EXPERIMENTS, kept)
        console.print(
            escape(f"{_summary(outcome)} ({time.monotonic() - began:.1f} s)"), highlight=False, soft_wrap=True
        )
    return done


def run_experiment(
    experiment: Experiment,
    config: Any,
    device: str | None,
    facts: dict[str, Any],
    out: Path,
    work: Work,
) -> Outcome:
    """One experiment and its negative controls. Its figure goes into ``out``.

    The processes share the replicas of the experiment. Then each runs some of the negative controls on its own. Every
    process returns the same outcome.
    """
    name, shard = name_of(experiment), work.shard
    work.tell("simulating")
    data = experiment.simulate(config, work)
    claims = tuple(experiment.check(config, data))
    if shard.leads:
        work.tell("drawing")
        with house_style():
            figure = experiment.plot(config, data)
        save_figure(figure, out / f"{name}.png", "png")
    configs = {variant: _adapted(wrong, None, device) for variant, wrong in experiment.NEGATIVE_CONTROLS.items()}

    def own_variants() -> str:
        alone, own = work.alone(), {}
        for variant, wrong in list(configs.items())[shard.rank :: shard.count]:
            work.tell(f"negative control: {variant}")
            own[variant] = [claim.to_json() for claim in experiment.check(wrong, experiment.simulate(wrong, alone))]
        return json.dumps(own)

    found: dict[str, Any] = {}
    for others in shard.texts(shard.together(own_variants)):
        found |= json.loads(others)
    controls = {variant: tuple(map(Claim.from_json, found[variant])) for variant in configs}
    knobs = {variant: dataclasses.asdict(wrong) for variant, wrong in configs.items()}
    return Outcome(name, claims, controls, {**facts, "negative_control_configs": knobs})


def _adapted(config: Any, starts: int | None, device: str | None) -> Any:
    """The configuration with another number of random starts or another device, where these are given."""
    changes = {"starts": starts, "device": device}
    return dataclasses.replace(config, **{name: value for name, value in changes.items() if value is not None})


def _summary(outcome: Outcome) -> str:
    held = len(outcome.claims) - len(outcome.failing)
    found = len(outcome.negative_controls) - len(outcome.undetected)
    words = f"{outcome.name}: {held} of {len(outcome.claims)} claims hold"
    lines = [f"{words}, {found} of {len(outcome.negative_controls)} negative controls fail, as they must"]
    lines += [
        f"  fails: {claim.statement} {claim.measured:.4g}, not {claim.comparator} {claim.bound:.4g}"
        for claim in outcome.failing
    ]
    lines += [f"  not detected: {variant}" for variant in outcome.undetected]
    return "\n".join(lines)
