"""With d ≥ K, a critical point of the loss on a sphere is a global minimiser or a strict saddle: no other minima.

Hypotheses: the sphere ‖W‖² + ‖H‖² = ρ², d ≥ K, and a multiplier μ = −⟨∇L, Θ⟩/ρ² other than 0. Then a direction of R^d
    is orthogonal to all w_k and h_i, the least curvature is μ − ‖R‖_op, and ‖R‖_op ≤ μ proves a global minimum.
Source: Theorem 3.4 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022,
    whose exact hypotheses are not known to us; for the free direction Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A Geometric
    Analysis of Neural Collapse with Unconstrained Features", 2021.
Falsified by: a critical point with d ≥ K at which the loss neither falls to second order nor is proven least. Variants
    that must fail: d = 2 for four classes, a curvature of μ − ½‖R‖_op, points that are not critical.
Not verified: that all critical points were found; each start finds one. At d = K − 1 only points of rank K − 1 escape
    the argument, and none was met that is neither; what holds at d < K is counted in the figure and claimed nowhere.
"""

import collections
import dataclasses
import functools
import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.critical_points import critical_points, landscape, on_sphere
from theory_experiments.numerics.summaries import greatest
from theory_experiments.numerics.vectors import flat, unflat
from ulpm.plotting import style

TITLE = "Benign landscape"


@dataclasses.dataclass(frozen=True)
class Config:
    """Block points of ``blocks`` (K, b, n) with d = K … K + 2, and critical points of ``problems`` (K, n), d in
    ``dims``.

    ``dims`` holds d − K; what is claimed is claimed where it is at least ``claimed_from``. ``weight`` is the factor of
    ‖R‖_op in the formula; ``displacement``, relative to ρ, moves points off.
    """

    seed: int
    starts: int
    blocks: tuple[tuple[int, int, int], ...]
    problems: tuple[tuple[int, int], ...]
    dims: tuple[int, ...]
    norms: tuple[float, ...]
    iterations: int
    claimed_from: int = 0
    weight: float = 1.0
    displacement: float = 0.0
    device: str = "cpu"


FULL = Config(
    seed=0,
    starts=32,
    blocks=((4, 2, 1), (4, 2, 5), (6, 2, 1), (6, 3, 2), (9, 3, 1)),
    problems=((4, 1), (3, 2)),
    dims=(-2, -1, 0, 1, 2),
    norms=(4.0, 8.0),
    iterations=80,
)
QUICK = dataclasses.replace(
    FULL, starts=8, blocks=((4, 2, 1),), problems=((3, 1),), dims=(-1, 0, 1), norms=(5.0,), iterations=50
)
SHORT = dataclasses.replace(QUICK, starts=4, dims=(0,))
FALSIFIED = {
    "d = 2 for four classes": dataclasses.replace(
        SHORT, starts=8, problems=((4, 1),), dims=(-2,), claimed_from=-2, norms=(8.0,)
    ),
    "the curvature μ − ½‖R‖_op": dataclasses.replace(SHORT, weight=0.5),
    "points displaced by 1e-3": dataclasses.replace(SHORT, displacement=1e-3),
}


@dataclasses.dataclass(frozen=True)
class Found:
    """Points of one problem and norm [B]: kind, tangential share of the gradient, μ, ‖R‖_op and least curvature, of L.

    The last three come from the dense Hessian; the kind is the package's. ``of_blocks``: block points, not search.
    """

    problem: ulpm.Problem
    norm: float
    of_blocks: bool
    kinds: tuple[str, ...]
    share: Tensor
    multiplier: Tensor
    operator_norm: Tensor
    curvature: Tensor
    log_loss: Tensor

    @property
    def excess(self) -> int:
        """d − K."""
        return self.problem.feature_dim - self.problem.num_classes


def simulate(config: Config, work: Work) -> tuple[Found, ...]:
    """Classify block points, then search for critical points and classify what was found."""
    found = []
    generator = torch.Generator().manual_seed(config.seed)
    for K, b, n in config.blocks:
        for d in (K, K + 1, K + 2):
            problem = ulpm.Problem([n] * K, d)
            for norm in (3.0, 10.0, 30.0):
                point = flat(ulpm.block_state(problem, b, norm))
                moved = point + config.displacement * point.norm() * noise_like(point, generator)
                found.append(examined(problem, moved[None], of_blocks=True))
    for K, n in config.problems:
        for d in sorted({K + more for more in config.dims if K + more >= 2}):
            problem = ulpm.Problem([n] * K, d)
            for norm in config.norms:
                work.tell(f"{config.starts} searches, K = {K}, n = {n}, d = {d}, norm {norm:g}")
                start = problem.random_state(seed=config.seed, replicas=config.starts)
                # Every second start follows the flow for a while: points of high and of low loss are found alike.
                later = work.flow(problem, start, log_time=3.0, records=2).final_state
                mixed = torch.where(torch.arange(config.starts)[:, None] % 2 == 0, flat(start), flat(later))
                search = functools.partial(_search, config, problem)
                (ends,) = work.replicas(search, on_sphere(mixed, norm))
                ends = ends + config.displacement * norm * noise_like(ends, generator)
                found.append(examined(problem, ends, of_blocks=False))
    return tuple(found)


def _search(config: Config, problem: ulpm.Problem, points: Tensor) -> tuple[Tensor]:
    return (critical_points(problem, points, config.iterations),)


def noise_like(points: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of norm about 1 a point."""
    noise: Tensor = torch.randn(points.shape, generator=generator, dtype=points.dtype) / math.sqrt(points.shape[-1])
    return noise


def examined(problem: ulpm.Problem, points: Tensor, of_blocks: bool) -> Found:
    """What the dense Hessian and the package say about points [B, D]."""
    seen = landscape(problem, points)
    kinds = tuple(ulpm.sphere_critical_point(problem, unflat(problem, point)).kind for point in points)
    return Found(
        problem=problem,
        norm=float(points[0].norm()),
        of_blocks=of_blocks,
        kinds=kinds,
        share=seen.share,
        multiplier=seen.multiplier,
        operator_norm=seen.operator_norm,
        curvature=seen.least_curvature,
        log_loss=seen.log_loss,
    )


def check(config: Config, data: tuple[Found, ...]) -> list[Claim]:
    """The search; kinds; the curvature."""
    blocks = [found for found in data if found.of_blocks]
    searched = [found for found in data if not found.of_blocks]
    claimed = [found for found in searched if found.excess >= config.claimed_from]
    counts = collections.Counter(kind for found in claimed for kind in found.kinds)
    critical = {id(found): torch.tensor([kind != "not_critical" for kind in found.kinds]) for found in data}
    least = min(float(critical[id(found)].double().mean()) for found in claimed)
    at = [(found, critical[id(found)] & (found.multiplier.abs() > 1e-9)) for found in [*blocks, *claimed]]
    formula = [
        ((f.curvature - (f.multiplier - config.weight * f.operator_norm).clamp(max=0)) / f.operator_norm).abs()[which]
        for f, which in at
    ]
    bound = [((f.multiplier - f.operator_norm - f.curvature) / f.operator_norm)[critical[id(f)]] for f in data]
    return [
        Claim(
            "Share of starts from which the search finds a critical point: least over problems, d ≥ K, and norms",
            least,
            ">=",
            0.5,
            "a search that mostly fails would say little about the landscape; where it fails it is at a point at which "
            "the tangential gradient is least but not 0",
        ),
        Claim(
            f"Block points that are not strict saddles, of {len(blocks)} with d ≥ K and norms 3, 10 and 30",
            float(sum(kind != "strict_saddle" for found in blocks for kind in found.kinds)),
            "<=",
            0.0,
            "a theorem; none is allowed",
        ),
        Claim(
            f"Critical points found that are neither global minima nor strict saddles, of "
            f"{counts.total() - counts['not_critical']} with d ≥ K",
            float(counts["undetermined"]),
            "<=",
            0.0,
            "a theorem; none is allowed",
        ),
        Claim(
            "Fewer of the two: proven global minima and strict saddles found with d ≥ K",
            float(min(counts["global_minimum"], counts["strict_saddle"])),
            ">=",
            1.0,
            "a search that finds one kind only would not try the claim",
        ),
        Claim(
            "Least curvature by the dense Hessian less min(μ − ‖R‖_op, 0), over ‖R‖_op: largest size, d ≥ K",
            greatest(formula),
            "<=",
            1e-7,
            "an equality at critical points; the search ends at a tangential share of 1e-8 or less, to which the "
            "curvature is right up to a factor of the order of ten (0 is the curvature of the normal and of rotations)",
        ),
        Claim(
            "μ − ‖R‖_op less the least curvature, over ‖R‖_op: largest over all critical points, d < K as well",
            greatest(bound),
            "<=",
            1e-7,
            "a lower bound for any d, up to the same accuracy",
        ),
    ]


KINDS = ("global_minimum", "strict_saddle", "undetermined", "not_critical")
WORDS = ("proven global minimum", "strict saddle", "undetermined", "search failed")


def plot(config: Config, data: tuple[Found, ...]) -> Figure:
    """Left: curvature against the formula. Right: kinds by dimension."""
    figure = style.new_figure(11.0, 4.6, "Critical points of the loss on spheres")
    left, right = figure.subplots(1, 2)
    groups = (
        ("found, $d < K$", style.COLORS[1], "x", [f for f in data if f.excess < 0]),
        ("found, $d \\geq K$", style.COLORS[0], "o", [f for f in data if f.excess >= 0 and not f.of_blocks]),
        ("block points, $d \\geq K$", style.COLORS[6], "s", [f for f in data if f.of_blocks]),
    )
    for label, color, marker, chosen in groups:
        if not chosen:
            continue
        critical = torch.tensor([kind != "not_critical" for f in chosen for kind in f.kinds])
        scale = torch.cat([f.operator_norm for f in chosen])[critical]
        x = torch.cat([f.multiplier for f in chosen])[critical] / scale - 1
        y = torch.cat([f.curvature for f in chosen])[critical] / scale
        fill = {"markerfacecolor": "none"} if marker != "x" else {}
        left.plot(x, y, marker, color=color, markersize=5, label=label, **fill)
    ends = [min(-1.0, left.get_xlim()[0]), 0.0]
    left.plot(ends, ends, **style.THEORY, label=r"$\mu - \|R\|_{op}$")
    left.set(xlabel=r"$(\mu - \|R\|_{op})/\|R\|_{op}$", ylabel=r"least curvature$/\|R\|_{op}$")
    searched = [f for f in data if not f.of_blocks]
    dims = sorted({f.excess for f in searched})
    bottom = torch.zeros(len(dims), dtype=torch.float64)
    hatches = ("", "//", "xx", "..")
    for kind, words, color, hatch in zip(KINDS, WORDS, ("#0072B2", "#E69F00", "#D55E00", "0.85"), hatches, strict=True):
        count = torch.tensor([float(sum(f.kinds.count(kind) for f in searched if f.excess == d)) for d in dims])
        right.bar(dims, count, bottom=bottom, color=color, hatch=hatch, edgecolor="white", width=0.75, label=words)
        bottom = bottom + count
    right.axvline(-0.5, **style.THEORY)
    right.set(xlabel="$d - K$  (the theorem holds to the right of the dashed line)", ylabel="starts of the search")
    right.set_xticks(dims)
    left.legend(fontsize=8, frameon=False, loc="lower right")
    right.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=4)
    for axes in (left, right):
        style.finish(axes)
    return figure


EXPLANATION = """
On a sphere, the loss has many critical points: wherever gradient and position are parallel, ∇L = −μΘ. Gradient descent
could end at any of them that is a local minimum. The theorem says that with at least as many features as classes the
only local minima are global. Two numbers decide at each point, the multiplier μ and the operator norm of the softmax
residual R. If they are equal, the point solves a convex problem, in Z = WH, and is a global minimum; if ‖R‖_op is the
larger one, there is a direction of curvature μ − ‖R‖_op < 0, which mixes the top singular vectors of R with a direction
of feature space that the point does not use.

Points were found by minimising the tangential gradient, a search that is attracted by saddles as well as by minima. On
the left, the least eigenvalue of the Hessian, a dense matrix formed without any formula for it, lies on the line
μ − ‖R‖_op wherever d ≥ K and μ is not 0. (Points with μ = 0, at −1, need not lie on it, but all are saddles.) Below
that dimension, no direction may be free and the formula is a lower bound only: crosses above the line. On the right,
what the points are, by dimension. For four classes in d = 2 many are undetermined: the loss neither falls to second
order nor is it proven least, as it is for the others. What these are is the subject of narrow_features.
"""
