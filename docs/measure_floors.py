"""Measure what float32 and float64 resolve, and write docs/floors.md: `make floors`."""

import math
import platform
from collections.abc import Callable
from pathlib import Path

import mpmath
import torch

import ulpm
from ulpm.objective import Objective

DTYPES = (torch.float32, torch.float64)
PAGE = Path(__file__).parent / "floors.md"


def collapsed(dtype: torch.dtype, K: int = 10, n: int = 50, d: int = 512, offset: float = 0.0) -> dict[str, float]:
    """The metrics of exact neural collapse, each sample rounded on its own to ``dtype``; the worst of 10 draws."""
    worst: dict[str, float] = {}
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        Q = torch.linalg.qr(torch.randn(d, K + 1, generator=g, dtype=torch.float64))[0]
        simplex = Q[:, :K] @ (torch.eye(K, dtype=torch.float64) - 1 / K) * math.sqrt(K / (K - 1))
        y = torch.arange(K).repeat_interleave(n)
        # Each copy is off by its own rounding, as features of a network are, instead of n equal copies.
        H = simplex[:, y] + offset * Q[:, K:]
        noise = 2 * torch.rand(H.shape, generator=g, dtype=torch.float64) - 1
        H = H * (1 + torch.finfo(dtype).eps / 2 * noise)
        for name, value in ulpm.neural_collapse(simplex.T.to(dtype), H.to(dtype), y).items():
            worst[name] = max(worst.get(name, 0.0), float(value))
    return worst


def field_error(dtype: torch.dtype, gap: float) -> float:
    """Largest ‖F − F_exact‖/‖F_exact‖ over 5 states near collapse with margins near ``gap``, by 50-digit arithmetic."""
    K, n, d = 4, 5, 20
    problem = ulpm.Problem([n] * K, d)
    worst = 0.0
    for seed in range(5):
        noise = problem.random_state(seed=seed)
        simplex = torch.linalg.qr(noise.H[:, :K])[0] @ (torch.eye(K, dtype=torch.float64) - 1 / K)
        # Margins gap + O(1), so that every sample weighs in: a residual is a softmax over samples as well as classes.
        size = math.sqrt(gap)
        W = (size * simplex.T + noise.W / size).to(dtype)
        H = (size * simplex[:, problem.labels] + noise.H / size).to(dtype)
        _, (dW, dH, _) = Objective(problem)(ulpm.State(W, H).factors)
        exact_W, exact_H = exact_field(problem, W, H)
        error = torch.sqrt((dW.double() - exact_W).square().sum() + (dH.double() - exact_H).square().sum())
        worst = max(worst, float(error / torch.sqrt(exact_W.square().sum() + exact_H.square().sum())))
    return worst


def exact_field(problem: ulpm.Problem, W: torch.Tensor, H: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """−∇ log L = ((R/L) Hᵀ, Wᵀ (R/L)) with R = Y − P, by mpmath."""
    K, N = problem.num_classes, problem.num_samples
    with mpmath.workdps(50):
        Wm, Hm = (mpmath.matrix(x.double().tolist()) for x in (W, H))
        Z = Wm * Hm
        R, loss = mpmath.zeros(K, N), mpmath.mpf(0)
        for i, y in enumerate(problem.labels.tolist()):
            odds = [mpmath.exp(Z[k, i] - Z[y, i]) for k in range(K)]
            total = mpmath.fsum(odds)
            # mpmath's digits are relative: 1 − softmax would need gap/2.3 more of them, the sum of the others none.
            others = mpmath.fsum(odds[k] for k in range(K) if k != y)
            loss += mpmath.log1p(others)
            for k in range(K):
                R[k, i] = others / total if k == y else -odds[k] / total
        dW, dH = (R * Hm.T) / loss, (Wm.T * R) / loss
        return tuple(torch.tensor(m.tolist(), dtype=torch.float64) for m in (dW, dH))


def flow_row(log10_time: float, rtol: float) -> tuple[str, ...]:
    """A float32 run beside a float64 one from the same start."""
    problem = ulpm.Problem([5] * 4, 20)
    start = problem.random_state(seed=0)
    single = ulpm.State(start.W.float(), start.H.float())
    exact = ulpm.gradient_flow(problem, start, log10_time=log10_time, rtol=1e-9, records=2)
    path = ulpm.gradient_flow(problem, single, log10_time=log10_time, rtol=rtol, records=2)
    if not path.finished:
        return (f"{log10_time:g}", f"{rtol:g}", str(path.status), "", "", "", "")
    ratios = {key: float(path.metrics[key][-1] / exact.metrics[key][-1]) for key in path.metrics}
    changes = {key: abs(ratio - 1) for key, ratio in ratios.items() if key != "nc4_mismatch"}
    worst = max(changes, key=changes.__getitem__)
    return (
        f"{log10_time:g}",
        f"{rtol:g}",
        f"{abs(float(path.log_loss[-1] / exact.log_loss[-1]) - 1):.0e}",
        f"{float(path.invariant_drift['balancedness'].max()):.0e}",
        f"{float(path.invariant_drift['classifier_sum'].max()):.0e}",
        f"{worst}: {changes[worst]:.0e}",
        str(path.stats["steps"]),
    )


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def main() -> None:
    """Write the page."""
    columns: list[tuple[str, Callable[[], dict[str, float]]]] = [
        ("float32", lambda: collapsed(torch.float32)),
        ("float32, offset 10", lambda: collapsed(torch.float32, offset=10.0)),
        ("float64", lambda: collapsed(torch.float64)),
        ("float64, offset 10", lambda: collapsed(torch.float64, offset=10.0)),
    ]
    values = [measure() for _, measure in columns]
    metrics = table(
        ("metric", *(name for name, _ in columns)),
        [(f"`{key}`", *(f"{column[key]:.0e}" for column in values)) for key in values[0]],
    )
    gaps = (1e1, 1e2, 1e3, 1e4)
    field = table(
        ("gap", *(str(dtype).removeprefix("torch.") for dtype in DTYPES)),
        [(f"{gap:g}", *(f"{field_error(dtype, gap):.0e}" for dtype in DTYPES)) for gap in gaps],
    )
    runs = table(
        (
            "log10 t",
            "rtol",
            "log L",
            "balancedness drift",
            "classifier-sum drift",
            "largest change of a metric",
            "steps",
        ),
        [flow_row(log10_time, rtol) for log10_time in (2, 10, 100, 1000) for rtol in (1e-4, 1e-5)],
    )
    PAGE.write_text(
        TEMPLATE.format(metrics=metrics, field=field, runs=runs, torch=torch.__version__, machine=platform.machine())
    )


TEMPLATE = """# Floors of float32 and float64

`make floors` wrote this page with torch {torch} on {machine}. A floor is the smallest value that a metric can resolve.
The metrics are always computed in float64. float32 loses digits before that: in the rounding of the features, of the
classifier, and of the steps of the flow.

## Metrics of exact collapse

The table gives each metric at exact neural collapse (K = 10, n = 50, d = 512, class means of norm 1), when every sample
is rounded on its own. It shows the worst of 10 draws. Do not read smaller values as measurements. *Offset 10* adds a
common vector of norm 10 to every feature, because features behind a ReLU have such a common part. It costs digits,
since rounding is relative to the whole vector.

{metrics}
Streamed moments (`ClassMoments`) store only sums of the features. So their `nc1_pinv` has a rounding error of
1e-16 times tr Σ_W/tr Σ_B. This matters if the features vary almost only orthogonally to the class means. `nc1_pinv`
treats singular values of the class means below 1e-12 of the largest as zero.

## Field

The table gives the relative error of F = −∇ log L near collapse, with logit gaps near the given one (K = 4, n = 5, d =
20; worst of 5 states). The reference is 50-digit arithmetic on the same rounded state. The error is that of the gaps
themselves, about ε·gap with the machine epsilon ε. It does not depend on the size of the loss, here e^−gap. Residual
entries smaller than 1e-19 (float32) or 1e-154 (float64) of the largest are not resolved. They are raised to that floor.
The share of a sample is raised to 1e4 times that floor.

{field}
## Flow

The table compares float32 runs with a float64 run at rtol 1e-9 from the same start (K = 4, n = 5, d = 20). It gives the
relative error of log L at the end, the largest drifts over two records, and the metric with the largest error.

{runs}
`rtol` below 8 ε (9.5e-7 in float32, 1.8e-15 in float64) is an error.
"""


if __name__ == "__main__":
    main()
