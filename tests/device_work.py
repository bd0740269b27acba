"""What a GPU would have to do for a step, a record, a certificate: launches, host waits and uploads, on the stand-in.

``python tests/device_work.py`` prints a table, and with ``--sites`` the lines of the packages where all that happens.
Work that is repeated is measured as the difference of two runs.
"""

import argparse
import bisect
import functools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from standin_device import NAME, Counts, count, parameters_on_the_device

import ulpm

PROBLEM = ulpm.Problem([20] * 6, feature_dim=10)
END = 1e5  # log10 of the time


@dataclass(frozen=True)
class Work:
    """Counts of ``times`` units of work of one kind."""

    counts: Counts
    times: int
    products: int = 0
    """Products with the Jacobian that the units took."""

    @property
    def each(self) -> tuple[float, float, float]:
        """Launches, waits and uploads of one unit."""
        return tuple(n / self.times for n in (self.counts.launches, self.counts.waits, self.counts.uploads))  # type: ignore[return-value]


def start(replicas: int | None = None) -> ulpm.State:
    """A start, or copies of it, which take the same steps side by side."""
    one = PROBLEM.random_state(seed=1, device=NAME)
    if replicas is None:
        return one
    return ulpm.State(one.W.expand(replicas, -1, -1).clone(), one.H.expand(replicas, -1, -1).clone())


def counted(work: Callable[[], object]) -> Counts:
    with count() as counts:
        work()
    return counts


def steps(first: int, last: int, replicas: int | None = None) -> Work:
    """Attempts ``first`` to ``last`` of a flow, without records."""

    def run(attempts: int) -> tuple[Counts, dict[str, int]]:
        with count() as counts:
            path = ulpm.gradient_flow(PROBLEM, start(replicas), log10_time=END, records=2, max_steps=attempts)
        return counts, path.stats

    run(1)  # what is computed once in a process
    (less, fewer), (more, all_of_them) = run(first), run(last)
    return Work(more - less, last - first, all_of_them["jacobian_products"] - fewer["jacobian_products"])


def explicit_steps(replicas: int | None = None) -> Work:
    return steps(4, 8, replicas)


def stiff_steps(replicas: int | None = None) -> Work:
    # Those after the first, which asks how many iterations it needs. The hand-over is the same on the CPU.
    first = bisect.bisect_left(range(100), 1, key=_products_of)
    assert _products_of(first) < _products_of(first + 1) < _products_of(first + 2) < _products_of(first + 3)
    return steps(first, first + 3, replicas)


@functools.cache
def _products_of(attempts: int) -> int:
    if not attempts:
        return 0
    path = ulpm.gradient_flow(PROBLEM, start().to("cpu"), log10_time=END, records=2, max_steps=attempts)
    return path.stats["jacobian_products"]


def records() -> Work:
    """One record more, of one replica, inside a step, with the evaluations of the loss that it takes to get there."""

    def run(*log_times: float) -> Counts:
        return counted(lambda: ulpm.gradient_flow(PROBLEM, start(), log_time=2.0, save_at=log_times))

    run(0.0)
    return Work(run(-3.0, 0.0, 1.0) - run(-3.0, 1.0), 1)


def certificate() -> Work:
    state = ulpm.collapsed_state(PROBLEM).to(NAME) + 0.01 * start()
    return Work(counted(lambda: ulpm.certify(PROBLEM, state)), 1)


def metrics() -> Work:
    state = start()
    labels = PROBLEM.labels.to(NAME)
    ulpm.neural_collapse(state.W, state.H, labels)  # what is computed once in a process
    return Work(counted(lambda: ulpm.neural_collapse(state.W, state.H, labels)), 1)


def moments() -> Work:
    """One batch added to ClassMoments."""
    H, labels = start().H.T, PROBLEM.labels.to(NAME)

    def run(batches: int) -> Counts:
        whole = ulpm.ClassMoments(PROBLEM.num_classes, PROBLEM.feature_dim, device=NAME)
        return counted(lambda: [whole.update(H, labels) for _ in range(batches)])

    return Work(run(5) - run(2), 3)


def descent_steps() -> Work:
    def run(steps: int) -> Counts:
        return counted(lambda: ulpm.gradient_descent(PROBLEM, start(), steps=steps, records=2))

    run(4)  # what is made once and kept
    return Work(run(12) - run(4), 8)


def training_batches() -> Work:
    from real_experiments.recipe import Recipe
    from real_experiments.trainer import Trainer
    from ulpm.support import Shard

    recipe = Recipe(model="resnet18", width=4, dataset="fashion-mnist-sample", subset=60, batch_size=10, epochs=2)
    with parameters_on_the_device():
        device = torch.device(NAME)
        trainer = Trainer(recipe, recipe.load_data(device), Shard(device=device))
    trainer.step()
    return Work(counted(lambda: [trainer.step() for _ in range(4)]), 4)


KINDS: dict[str, Callable[[], Work]] = {
    "attempted explicit step, 1 replica": explicit_steps,
    "attempted explicit step, 5 replicas": lambda: explicit_steps(5),
    "attempted stiff step, 1 replica": stiff_steps,
    "attempted stiff step, 5 replicas": lambda: stiff_steps(5),
    "record": records,
    "certificate": certificate,
    "neural_collapse": metrics,
    "batch of ClassMoments": moments,
    "descent step": descent_steps,
    "training batch (ResNet18)": training_batches,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, metavar="N", help="list waits and uploads, and the N busiest lines")
    parser.add_argument("--only", default="", help="the kinds of work with this in their names")
    arguments = parser.parse_args()
    print(f"{'work':38} {'launches':>9} {'waits':>7} {'uploads':>8}")
    for name, measured in KINDS.items():
        if arguments.only not in name:
            continue
        work = measured()
        note = f"   with {work.products / work.times:.1f} products" if work.products else ""
        print(f"{name:38} {work.each[0]:9.1f} {work.each[1]:7.2f} {work.each[2]:8.2f}{note}")
        if arguments.sites:
            for (kind, what, site), times in sorted(work.counts.by_site.items()):
                if kind != "launch":
                    print(f"    {times / work.times:8.2f} {kind:7} {what:28} {site}")
            lines: Counter[str] = Counter()
            for (kind, _, site), times in work.counts.by_site.items():
                if kind == "launch":
                    lines[site] += times
            for site, times in lines.most_common(arguments.sites):
                names = sorted({what for kind, what, at in work.counts.by_site if (kind, at) == ("launch", site)})
                print(f"    {times / work.times:8.2f} launch  {site}  {', '.join(names)}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
