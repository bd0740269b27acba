"""How often confidence intervals contain the slope of a curve without noise, measured by simulation."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.console import Console

from real_experiments.comparison.other_intervals import OTHERS, Ends
from real_experiments.comparison.slopes import FEWEST, SlopeError
from real_experiments.markdown import table
from real_experiments.pair_result import PairResult, read_results
from ulpm.support import checks, files

__all__ = ["MEMORIES", "Coverage", "autoregression", "coverage", "smooth_curve"]

MEMORIES = (0.0, 0.5, 0.8, 0.95)
OURS = "φ summed over (ours)"
_METRIC = "nc2_angle_means"
_DEGREES = (3, 5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """Measure how often the 95% intervals of slopes cover the truth, at the epochs of trained networks.

    The truth is the least-squares slope of a smooth curve through a metric that a network had after zero training
    error: a polynomial in log epoch of degree 3, as the interval assumes, or of degree 5. Gaussian noise
    u_i = φ u_{i−1} + ε_i is added, as large as the residuals of a cubic fit to the metric itself. Other kinds of
    interval are measured for comparison.
    """

    results: Path = Path("real_experiments/results")
    """The --out of `reproduce`, whose networks' epochs and curves are used; one of each number of epochs."""
    repetitions: int = 2000
    """Series with noise for each number of epochs and each φ; the standard error is 0.5% at 2000."""
    seed: int = 0
    """Seed of the noise."""
    json: Path | None = None
    """Write the numbers here in JSON."""

    def run(self) -> int:
        checks.integer("--repetitions", self.repetitions, 1)
        checks.integer("--seed", self.seed, 0)
        results = read_results(self.results)
        if not results:
            raise OSError(f"{self.results} holds no results of `reproduce`: name a folder that does.")
        cases, by_degree = designs(results), {}
        for degree in _DEGREES:
            kinds = (OURS, *OTHERS) if degree == _DEGREES[0] else (OURS,)
            by_degree[degree] = coverage(cases, self.repetitions, self.seed, degree, kinds)
        console = Console(soft_wrap=True, highlight=False)
        console.print("\n\n".join(_section(*each) for each in by_degree.items()), markup=False)
        if self.json is not None:
            plain = [
                {"degree": degree, "interval": kind, "epochs": n, "φ": φ, "coverage": c}
                for degree, found in by_degree.items()
                for (kind, n, φ), c in found.items()
            ]
            files.write_text(self.json, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
        return 0


def designs(results: Sequence[PairResult]) -> list[tuple[np.ndarray, np.ndarray]]:
    """log epochs and log metric of the terminal phase and of its later half, one of each number of epochs."""
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for result in results:
        rows = result.terminal_rows
        for part in (rows, rows[len(rows) // 2 :]):
            if len(part) >= FEWEST:
                epochs = np.log([row["epoch"] for row in part])
                found.setdefault(len(part), (epochs, np.log([row[_METRIC] for row in part])))
    return [found[n] for n in sorted(found)]


def coverage(
    designs: Sequence[tuple[np.ndarray, np.ndarray]],
    repetitions: int,
    seed: int,
    degree: int = 3,
    kinds: Sequence[str] = (OURS,),
) -> dict[tuple[str, int, float], float]:
    """By kind of interval, number of epochs and φ: the share of simulated series whose interval contains the slope."""
    found = {}
    for abscissa, ordinate in designs:
        error, n = SlopeError(abscissa), len(abscissa)
        curve = smooth_curve(abscissa, ordinate, degree)
        truth = float(error.slope(curve))
        size = np.sqrt(np.square(ordinate @ error.rest).mean())
        for memory in MEMORIES:
            noise = autoregression(np.random.default_rng([seed, n]), repetitions, n, memory)
            series = curve + size * noise
            for kind in kinds:
                low, high = _INTERVALS[kind](abscissa, series)
                found[kind, n, memory] = float(np.mean((low <= truth) & (truth <= high)))
    return found


def smooth_curve(
    abscissa: Float[np.ndarray, " n"], ordinate: Float[np.ndarray, " n"], degree: int
) -> Float[np.ndarray, " n"]:
    """The polynomial through a metric: a curve of the kind that networks have."""
    return np.asarray(np.polynomial.Polynomial.fit(abscissa, ordinate, degree)(abscissa))


def autoregression(generator: np.random.Generator, repetitions: int, n: int, memory: float) -> Float[np.ndarray, "R n"]:
    """Stationary Gaussian u_i = φ u_{i−1} + ε_i of variance 1."""
    shocks = generator.standard_normal((repetitions, n))
    values = shocks.copy()
    for i in range(1, n):
        values[:, i] = memory * values[:, i - 1] + np.sqrt(1 - memory**2) * shocks[:, i]
    return values


def _ours(abscissa: np.ndarray, series: np.ndarray) -> Ends:
    error = SlopeError(abscissa)
    middle, reach = error.slope(series), error.reach(series)
    return middle - reach, middle + reach


_INTERVALS: dict[str, Callable[[np.ndarray, np.ndarray], Ends]] = {OURS: _ours, **OTHERS}


def _section(degree: int, found: dict[tuple[str, int, float], float]) -> str:
    """A table for our interval, and the range over all numbers of epochs for each kind."""
    numbers = sorted({n for _, n, _ in found})
    kinds = list(dict.fromkeys(kind for kind, _, _ in found))
    header = [f"φ = {memory:g}" for memory in MEMORIES]
    ours = [[str(n), *(f"{found[OURS, n, memory]:.1%}" for memory in MEMORIES)] for n in numbers]
    parts = [f"Noise about a curve of degree {degree}:", table([f"epochs, {OURS}", *header], ours)]
    if len(kinds) > 1:
        ranges = []
        for kind in kinds:
            of_kind = [[found[kind, n, memory] for n in numbers] for memory in MEMORIES]
            ranges.append([kind, *(f"{min(each):.1%} – {max(each):.1%}" for each in of_kind)])
        parts.append(table(["interval, all numbers of epochs", *header], ranges))
    return "\n\n".join(parts)
