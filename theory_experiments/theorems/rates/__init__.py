"""Late in the flow L·t·log t → v*/2 and ρ²/log t → 2v*, and each metric falls like a known power of log t.

Hypotheses: the flow ends at the optimum v* of the margin problem, as it does from generic starts for d ≥ K;
v* = (K−1)√n for n samples in each class. The powers are those of generic starts with within-class variation and
Σ_k w_k ≠ 0; K ≥ 3 and d ≥ K. If Σ_k w_k = 0, the raw rows of the classifier have the power of centred ones. If the mean
row is almost orthogonal to the classifier's span, their power shows later than here: such starts are left out.
Source: the orders of L and ρ: Lyu, Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020;
v*: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022, and for unequal
counts Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting Neural-Collapse Geometry", 2022. The
constants and the exponents are this project's; the quantities with centred rows, nc1_distance and nc3_duality are those
of Ji et al., who draw a guide ∝ 1/log t beside them.
Falsified by: another constant, K√n or (K−1)n; a dimension too small for collapse; a start with Σ_k w_k = 0, which is
not generic, so that the classifier must converge faster than claimed for those that are; one power 1/log t for all.
Not verified: that the exponents hold for all sizes. Those of `nc2` and of self-duality are proved on the page on the
mathematics; those of `nc1_pinv` and of the stationarity residual are derived in outline below. The exponent of
complementary slackness for balanced counts, which is measured and drawn, has no derivation here.
"""

import dataclasses
import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.exponents import Interval, confidence, fitted_exponents
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.late_laws import limits, loss_correction, mean_row_bend, norm_correction, quantities
from theory_experiments.theorems.rates import figure as rates_figure
from ulpm.support import law_exponents

TITLE = "Rates and sharp constants"
# The quantities whose exponents are claimed to 0.01: those of the paper, and what their raw rows are beside them.
SHARP = (
    "nc1_distance",
    "nc2_norm_classifier",
    "nc2_norm_classifier_centered",
    "nc2_angle_classifier",
    "nc2_angle_classifier_centered",
    "nc2_etf_classifier",
    "nc2_etf_classifier_centered",
    "nc3_difference",
    "nc3_duality",
)
SHARP_RANGE = (1e3, 1e5)  # of log t
_SLIGHTLY_WIDER = (0.999 * SHARP_RANGE[0], 1.001 * SHARP_RANGE[1])  # the last record is at its end but for rounding


@dataclasses.dataclass(frozen=True)
class Config:
    """``fit_from`` is the log t from which exponents are fitted; those of the sizes ``sharp`` are claimed to 0.01."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    log10_time: float = 1e5
    rtol: float = 1e-7
    records: int = 150
    fit_from: float = 1e4
    runs: tuple[str, ...] = ("balanced", "unequal", "centred")
    counts: tuple[int, ...] = (5, 5, 5, 5)
    dim: int = 20
    unequal_counts: tuple[int, ...] = (6, 3, 2)
    centred_as_generic: bool = False
    constant: str = "(K-1)√n"
    sharp: tuple[tuple[tuple[int, ...], int], ...] = (((5,) * 4, 20), ((50,) * 10, 64))
    sharp_starts: int = 8
    one_power: bool = False


FULL = Config()
QUICK = Config(
    starts=16, log10_time=1000.0, rtol=1e-6, records=60, fit_from=200.0, sharp=FULL.sharp[:1], sharp_starts=6
)
_FALSE = dataclasses.replace(QUICK, runs=("balanced",), starts=4, records=40, sharp=())
FALSIFIED = {
    "v* is K√n, the value of the suboptimal KKT points": dataclasses.replace(_FALSE, constant="K√n"),
    "v* is (K−1)n": dataclasses.replace(_FALSE, constant="(K-1)n"),
    "d = 2 < K − 1: too small for collapse": dataclasses.replace(_FALSE, dim=2, log10_time=300.0, fit_from=50.0),
    "a start with Σ_k w_k = 0 is taken for a generic one": dataclasses.replace(_FALSE, centred_as_generic=True),
    "all fall like 1/log t, raw rows and distances too": dataclasses.replace(_FALSE, sharp=QUICK.sharp, one_power=True),
}


@dataclasses.dataclass(frozen=True)
class Data:
    """A trajectory of ``starts`` replicas for each kind of run, and one of ``sharp_starts`` for each of ``sharp``."""

    paths: dict[str, ulpm.Trajectory]
    sharp: list[ulpm.Trajectory]


def simulate(config: Config, work: Work) -> Data:
    """The flow from random starts; for "centred" the mean of the classifier's rows is taken off first."""
    paths = {}
    for kind in config.runs:
        unequal = kind == "unequal"
        problem = ulpm.Problem(config.unequal_counts if unequal else config.counts, 8 if unequal else config.dim)
        work.tell(f"{kind}: {problem} to t = 10^{config.log10_time:g}")
        start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
        if kind == "centred" or config.centred_as_generic:
            start = ulpm.State(start.W - start.W.mean(-2, keepdim=True), start.H)
        paths[kind] = work.flow(problem, start, log10_time=config.log10_time, rtol=config.rtol, records=config.records)
    sharp = []
    for counts, dim in config.sharp:
        problem = ulpm.Problem(counts, dim)
        work.tell(f"{problem} to log t = {SHARP_RANGE[1]:g}")
        start = problem.random_state(config.seed, replicas=config.sharp_starts, device=config.device)
        # Small metrics late in the flow ask for the tight tolerance, at any size of the experiment.
        sharp.append(work.flow(problem, start, log_time=SHARP_RANGE[1], rtol=1e-7, records=150, snapshots=2))
    return Data(paths, sharp)


def check(config: Config, data: Data) -> list[Claim]:
    """The invariants, the constants, and each exponent."""
    claims = invariant_claims([*data.paths.values(), *data.sharp], config.rtol)
    for kind in [kind for kind in data.paths if kind != "centred"]:
        path = data.paths[kind]
        for name, deviation, correction in _constants(config, path):
            end, frozen = float(path.log_time[-1].min()), float(path.squared_norm[0].max())
            claims.append(
                Claim(
                    f"{kind.capitalize()}: relative distance of {name} at log t = {end:.4g}, largest over "
                    f"{config.starts} starts.",
                    float(deviation[-1].abs().max()),
                    "<=",
                    float(correction[-1].abs().max()) + frozen / (2 * _value(config, path) * end),
                    "the next term of the expansion in 1/log t, and what frozen parts add to ρ², at most ρ(0)²: "
                    "relative to the whole ρ(0)²/(2v*·log t)",
                )
            )
    for kind, intervals in _intervals(config, data).items():
        for name, predicted in _laws(config, kind, data.paths[kind]).items():
            claims.append(
                Claim(
                    f"{kind.capitalize()}: exponent of `{name}` in log t, {intervals[name]} (95%, {config.starts} "
                    f"starts): distance of {predicted:g} from the far end of the interval.",
                    intervals[name].distance(predicted),
                    "<=",
                    config.fit_from**-0.5,
                    "the next term of each expansion is smaller by (log t)^(−1/2) at least, and bends the slope by "
                    f"about half of that where the fit starts, at log t = {config.fit_from:g}",
                )
            )
    for path in data.sharp:
        claims += _sharp_claims(config, path)
    return claims


def plot(config: Config, data: Data) -> Figure:
    """Constants with their next terms, metrics with their powers, and all exponents."""
    first = next(iter(data.paths.values()))
    intervals = _intervals(config, data)
    laws = {kind: _laws(config, kind, path) for kind, path in data.paths.items()}
    for path in data.sharp[1:]:  # the first has the size of the balanced run
        kind = f"balanced, K = {path.problem.num_classes}"
        intervals[kind], laws[kind] = _sharp_intervals(path), law_exponents(path.problem)
    return rates_figure.draw(first, _constants(config, first), intervals, laws, config.starts)


EXPLANATION = """
**Left: the constants.** Relative distance of L·t·log t from v*/2 and of ρ²/log t from 2v*, for every start at once
(bands, too narrow to see), and the next term of the expansion (dashed), in which nothing is fitted. Where it comes
from: near the optimal direction, ⟨−∇L, Θ⟩ = 2 Σ p_{ij} q_{ij} ≈ 2 L q with q the margin, the gradient is radial, and
ρ² = 2v*q, so dL/dt = −‖∇L‖² = −4L²q²/ρ² = −(2/v*) L² q. All N(K−1) margins are equal at collapse, so q = m + log N(K−1)
with m = log(1/L). Integrating 1/L gives t = (v*/2)·(1/L)/(m + log N(K−1))·(1 + 1/m + …), and therefore

    L·t·log t = (v*/2)·(1 + (1 + log(v*/2) − log m − log N(K−1))/m + …),
    ρ² = 2v*·(log t + log log t − log(v*/2) + log N(K−1) + …).

The corrections are of order log log t/log t: only at t = 10^(10^5) are the constants right to four digits.

**Middle and right: the exponents.** Write m = log t, S for the span of the classifier at the end of time. Every
exponent follows from what does *not* grow like √m, while everything in S does.

- *Σ_k w_k is conserved*: w_k = √m·w*_k + w̄ + O(m^(−1/2)) with the same frozen w̄ for each class. Divided by ‖W‖ ~ √m
  it is m^(−1/2): `nc0`, and all metrics that compare raw rows of W with each other or with the means, to first order.
- *Centred rows w_k − w̄* have no frozen part. Their Gram matrix is √n·q·(C + X/(2√n q)) with the margin q ~ m, the
  simplex C = I − 11ᵀ/K and a bounded X that is read off the conserved WᵀW − HHᵀ: `nc2_*_classifier_centered` and
  `nc3_duality` are 1/m, as the paper's guide says. The page on the mathematics has the proof and the constants.
- *Feature parts orthogonal to the classifier feel no force*, as dH/dt = WᵀR lies in the span of W. Their variance is
  constant while the means grow: `nc1_ratio` and `nc1_cdnv` are 1/m, and the part itself, which `nc1_distance` compares
  with the means, is m^(−1/2) of ρ. With w̄ it
  makes up the stationarity residual, m^(−1/2), and as an excess in ρ² that does nothing for the margin it makes
  1 − γ/γ* fall like 1/m.
- *Class means about their mean* have no frozen part if counts are balanced: a combination Σ_i c_i h_i feels no force
  from W when R c = 0, and among class-wise c that is only c_i ∝ 1/n_{y_i}; it gives every class the same offset, and
  centring removes it. So their norms and angles are off by the next order, 1/m.
- `nc1_pinv` sees the within-class variation only along the class means. These tilt out of S by 1/m (conservation of
  WᵀW − HHᵀ across S fixes an off-diagonal block of order 1, against √m·√m), where they meet the frozen variation of
  order 1: (1/m)²/m = m^(−3).
- *Unequal counts*: the frozen offset ∝ 1/n_k now differs between classes, centring leaves a part of order 1 out of S,
  the tilt is m^(−1/2), and `nc1_pinv` is m^(−2). The optimum is no simplex and not self-dual: all `nc2`,
  `nc3_difference` and `nc3_duality` tend to positive constants.
  Multipliers differ, so margins differ by their logarithms, of order 1, and complementary slackness is 1/m.

*The test of the cause.* Take the mean off the rows of W at the start, so that w̄ = 0 for ever ("centred"). Then the
classifier's metrics and `nc3_difference` must fall like 1/m instead of m^(−1/2), and nothing else may change. They do.

*Exceptions.* With d = K − 1 there is no room orthogonal to the classifier, nothing within the classes stays frozen, and
nc1 falls faster than any power. With K = 2 the only angle is π, where the cosine is quadratic, so that
`nc2_angle_classifier` falls like 1/m, and the two centred means always have equal norms. Complementary slackness for
balanced counts is drawn (hollow marker, fitted over the decade of log t before the others, as it soon comes down to the
error of the gaps) without a prediction: theory gives only that it falls at least like 1/m.
"""


def _laws(config: Config, kind: str, path: ulpm.Trajectory) -> dict[str, float]:
    """The claimed exponents; where d is too small, those of enough dimensions, as that is what is to fail."""
    problem = path.problem
    roomy = ulpm.Problem(problem.class_counts, max(problem.feature_dim, problem.num_classes))
    laws = law_exponents(roomy, centred=kind == "centred")
    # The gap of the bounds is a difference of gaps of the logits, and soon comes down to their error in the flow.
    laws.pop("gap", None)
    return laws


def _generic(path: ulpm.Trajectory) -> Tensor:
    """The starts whose mean row is not almost orthogonal to the classifier's span: the next term stays below 0.01."""
    return mean_row_bend(path, 1e4) < 0.01


def _sharp_intervals(path: ulpm.Trajectory) -> dict[str, Interval]:
    log_time, kept = path.log_time, _generic(path)
    slopes = {name: fitted_exponents(log_time, path.metrics[name], *_SLIGHTLY_WIDER) for name in SHARP}
    return {name: confidence(found[kept]) for name, found in slopes.items()}


def _sharp_claims(config: Config, path: ulpm.Trajectory) -> list[Claim]:
    """Exponents to 0.01, and the limits that they lead to."""
    problem, low_high = path.problem, f"log t = {SHARP_RANGE[0]:g} … {SHARP_RANGE[1]:g}"
    K, n, d = problem.num_classes, problem.class_counts[0], problem.feature_dim
    size, claims = f"K = {K}, n = {n}, d = {d}", []
    starts = f"{int(_generic(path).sum())} of {config.sharp_starts} starts"
    for name, interval in _sharp_intervals(path).items():
        predicted = -1.0 if config.one_power else law_exponents(problem)[name]
        claims.append(
            Claim(
                f"{size}: exponent of `{name}` over {low_high}, {interval} (95%, {starts}): "
                f"distance of {predicted:g} from the far end of the interval.",
                interval.distance(predicted),
                "<=",
                0.01,
                "next terms at log t = 10⁴, the middle of the range: log log t/log t = 0.001, and where Σ_k w_k = K·w̄ "
                "enters ½‖w̄‖²/(‖P_S w̄‖‖w_k‖), S the classifier's span; starts in which this is more than 0.01, as w̄ is "
                "almost orthogonal to S, are left out",
            )
        )
    end = path.log_time[-1]
    for name, limit in limits(path).items():
        reached = path.metrics[name][-1] * end ** -law_exponents(problem)[name]
        kept = _generic(path)
        claims.append(
            Claim(
                f"{size}: `{name}`·(log t)^{-law_exponents(problem)[name]:g} over its predicted limit, distance from 1 "
                f"at log t = {SHARP_RANGE[1]:g}, largest over {starts}.",
                float((reached / limit - 1)[kept].abs().max()),
                "<=",
                3 * SHARP_RANGE[1] ** -0.5,
                "the next term is smaller by (log t)^(−1/2), and a reserve of 3",
            )
        )
    return claims


def _value(config: Config, path: ulpm.Trajectory) -> float:
    """v*, or what a falsified variant takes for it."""
    problem = path.problem
    if not problem.balanced:
        return problem.minimum_norm_value
    K, n = problem.num_classes, problem.class_counts[0]
    return {"(K-1)√n": (K - 1) * math.sqrt(n), "K√n": K * math.sqrt(n), "(K-1)n": (K - 1.0) * n}[config.constant]


def _constants(config: Config, path: ulpm.Trajectory) -> list[tuple[str, Tensor, Tensor]]:
    """Each constant: its name, relative distance from its limit, and the next term that theory gives for that."""
    v, log_time = _value(config, path), path.log_time
    loss = torch.exp(path.log_loss + log_time) * log_time / (v / 2) - 1
    norm = path.squared_norm / log_time / (2 * v) - 1
    return [
        ("L·t·log t from v*/2", loss, loss_correction(path, v)),
        ("ρ²/log t from 2v*", norm, norm_correction(path, v)),
    ]


def _intervals(config: Config, data: Data) -> dict[str, dict[str, Interval]]:
    """The exponent of each quantity that has one, and of complementary slackness."""
    found: dict[str, dict[str, Interval]] = {}
    for kind, path in data.paths.items():
        values = quantities(path)
        found[kind] = {
            name: confidence(fitted_exponents(path.log_time, values[name], config.fit_from))
            for name in _laws(config, kind, path)
        }
        if "complementarity" not in found[kind]:
            # It comes down to the error of the gaps before the others do: the decade before is fitted.
            early = fitted_exponents(path.log_time, values["complementarity"], config.fit_from / 10, config.fit_from)
            found[kind]["complementarity"] = confidence(early)
    return found
