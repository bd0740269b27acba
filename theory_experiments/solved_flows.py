"""Some flows are solved exactly: a collapsed one at all times, and one from a Hadamard start up to its singular values.

Hypotheses: K classes of n samples, d ≥ K − 1. Collapsed ray: W = a C Qᵀ, H = (a/√n) Q C spread over the samples, with
    C = I − 11ᵀ/K, QᵀQ = I. Hadamard start: K = 2^m, W = Φ diag(a) Qᵀ, H = Q diag(b) Φᵀ spread, a = √n b, with the
    characters of (ℤ/2)^m as columns of √K·Φ. Constants of a loss: φ ~ e^(−κq) at large margin q.
Source: the Hadamard start: Garrod, Keating, Thrampoulidis, "Diagonalizing the Softmax: Hadamard Initialization for
    Tractable Cross-Entropy Dynamics", 2025, who prove from it, with a Lyapunov function, that the flow converges to
    neural collapse. The Lyapunov function here, the closed form of the ray and the constants of other losses are this
    project's. The model: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022.
Falsified by: another constant in the closed form; a start near the ray but not on it; singular vectors that are no
    characters; a ≠ √n b, where the equation of σ is another one; log(max σ/min σ) in the place of the Lyapunov
    function, which grows for some starts with K = 16; κ = 1 for focal loss.
Not verified: Hadamard matrices that are no tables of characters, such as those with K = 12. The library has the flow of
    cross-entropy only: for other losses the equation of the ray is compared with gradient flows of autograd by scipy at
    moderate times, and the constants are those of that equation.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp
from torch import Tensor

import ulpm
from theory_experiments import hadamard, rays, solved_figure
from theory_experiments.claim import Claim
from theory_experiments.invariants import invariant_claims
from theory_experiments.summaries import greatest
from theory_experiments.vectors import flat, unflat
from theory_experiments.work import Work

TITLE = "Solved flows"


@dataclasses.dataclass(frozen=True)
class Config:
    """``rays`` and ``hadamard`` are sizes (K, n, d), run from ``starts`` starts each; ``gammas`` are exponents of focal
    loss, 0 for cross-entropy; ``points`` are random σ for each K.

    From ``time_factor`` on these are settings of the negative controls.
    """

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    rays: tuple[tuple[int, int, int], ...] = ((2, 5, 3), (3, 1, 2), (4, 5, 20), (7, 3, 6), (10, 50, 12), (20, 2, 25))
    ray_rtols: tuple[float, ...] = (1e-6, 1e-9)
    log10_time: float = 1e6
    records: int = 60
    hadamard: tuple[tuple[int, int, int], ...] = ((4, 5, 3), (8, 2, 10), (16, 1, 15))
    hadamard_rtol: float = 3e-11
    hadamard_records: int = 150
    points: int = 20_000
    gammas: tuple[float, ...] = (0.0, 1.0, 2.0)
    time_factor: float = 2.0
    noise: float = 0.0
    turned: bool = False
    excess: float = 1.0
    function: str = "lyapunov"
    kappa_is_one: bool = False


FULL = Config()
QUICK = Config(
    starts=4,
    rays=((3, 1, 2), (4, 5, 20)),
    ray_rtols=(1e-6,),
    records=30,
    hadamard=((4, 5, 3), (16, 1, 15)),
    hadamard_records=80,
    hadamard_rtol=1e-8,
    points=500,
)
_RAY = dataclasses.replace(QUICK, starts=2, rays=((4, 5, 20),), hadamard=(), gammas=())
_HADAMARD = dataclasses.replace(QUICK, starts=3, rays=(), hadamard=((4, 5, 3),), gammas=(), points=10)
FALSIFIED = {
    "the closed form has K√n in the place of 2K√n": dataclasses.replace(_RAY, time_factor=1.0),
    "the start is 1% beside the ray": dataclasses.replace(_RAY, noise=0.01),
    "the singular vectors are no characters": dataclasses.replace(_HADAMARD, turned=True),
    "the start is not balanced: a = 2√n b": dataclasses.replace(_HADAMARD, excess=2.0),
    "log(max σ/min σ) is taken for a Lyapunov function": dataclasses.replace(
        _HADAMARD, hadamard=((16, 1, 15),), function="log_ratio"
    ),
    "focal loss of γ = 2 is taken to have κ = 1": dataclasses.replace(_RAY, rays=(), gammas=(2.0,), kappa_is_one=True),
}


@dataclasses.dataclass(frozen=True)
class Ray:
    """A run from collapsed starts: their margins at t = 0, and those of the closed form at the records."""

    path: ulpm.Trajectory
    rtol: float
    exact_margin: Float[np.ndarray, "R B"]

    @property
    def margin(self) -> Float[np.ndarray, "R B"]:
        """q = ρ²/(2v*), in which deviations of single margins cancel."""
        return (self.path.squared_norm / (2 * self.path.problem.minimum_norm_value)).numpy(force=True)

    @property
    def since(self) -> int:
        """The first record with t ≥ 100."""
        return int((self.path.log_time.amin(1) < math.log(100)).sum())

    def errors(self) -> dict[str, Float[np.ndarray, "R B"]]:
        """Relative errors of q and of log L against the closed form."""
        K, n = self.path.problem.num_classes, self.path.problem.class_counts[0]
        log_loss = math.log(n * K) + rays.CROSS_ENTROPY.log_loss(self.exact_margin, K)
        return {
            "q": np.abs(self.margin / self.exact_margin - 1),
            "log L": np.abs(self.path.log_loss.numpy(force=True) / log_loss - 1),
        }


@dataclasses.dataclass(frozen=True)
class Diagonal:
    """A run from Hadamard starts: σ by the flow and by their own equation, and what the vectors have turned."""

    path: ulpm.Trajectory
    sigma: Float[Tensor, "R B s"]
    turned: Float[Tensor, "R B"]
    solved: Float[Tensor, "E B s"]
    level: Float[Tensor, "R B"]
    slopes: Float[Tensor, " B"]

    def error(self) -> Float[Tensor, "R B"]:
        """Largest relative error of a σ_s; beyond the records of ``solved``, where all σ agree, against the ray."""
        problem, rest = self.path.problem, self.path.log_time[len(self.solved) :].cpu()
        late = rays.cross_entropy_margin(rest.numpy(), 1.0, problem.num_classes, problem.class_counts[0])
        ray = torch.from_numpy(late)[..., None].expand(*late.shape, self.sigma.shape[-1])
        error: Tensor = (self.sigma / torch.cat([self.solved, ray]) - 1).abs().amax(-1)
        return error


@dataclasses.dataclass(frozen=True)
class Data:
    """``direct`` errors by loss, ``excess`` of the mean margin over the mean of σ by K, ``constants`` by loss."""

    rays: list[Ray]
    diagonals: list[Diagonal]
    direct: Mapping[str, float]
    excess: Mapping[int, float]
    constants: list[solved_figure.Constants]


def simulate(config: Config, work: Work) -> Data:
    """All runs, and what is computed without the library's flow beside them."""
    made = []
    for sizes in config.rays:
        for rtol in config.ray_rtols:
            work.tell(f"the collapsed ray of K, n, d = {sizes} at rtol {rtol:g}")
            made.append(_ray(config, work, sizes, rtol))
    diagonals = []
    for sizes in config.hadamard:
        work.tell(f"Hadamard starts of K, n, d = {sizes}")
        diagonals.append(_diagonal(config, work, sizes))
    work.tell("other losses")
    tails = [rays.tail(gamma) for gamma in config.gammas]
    return Data(
        made,
        diagonals,
        _direct_errors(tails),
        {K: _excess(config, K) for K in ((4, 8, 16, 32) if diagonals else ())},
        [_constants(config, tail) for tail in tails],
    )


def check(config: Config, data: Data) -> list[Claim]:
    """Invariants, the ray, the singular values, the Lyapunov function, and the constants of losses."""
    claims = [*_ray_claims(config, data), *_hadamard_claims(config, data), *_loss_claims(config, data)]
    coarse = [each.path for each in data.rays if each.rtol == max(config.ray_rtols)]
    fine = [each.path for each in data.diagonals]
    kept = [*(invariant_claims(coarse, max(config.ray_rtols)) if coarse else ())]
    kept += invariant_claims(fine, config.hadamard_rtol) if fine else []
    return [*kept, *claims]


def plot(config: Config, data: Data) -> Figure:
    """Errors of the ray and of σ, the Lyapunov function, and the constants with their next terms."""
    curves = [
        solved_figure.RayErrors(each.path.problem, each.rtol, each.path.log_time.cpu(), each.errors()["log L"])
        for each in data.rays
    ]
    diagonals = [
        solved_figure.Singular(each.path.problem, each.path.log_time.cpu(), each.sigma, each.solved, each.level)
        for each in data.diagonals
    ]
    return solved_figure.draw(curves, diagonals, data.constants, config.starts)


EXPLANATION = """
**Top left: the collapsed ray.** A collapsed start stays collapsed, one number moves, and its equation has a closed
form: from dq/dt = 2√n q·K e^(−q)/(1 + (K − 1)e^(−q)),

    t = [Ei(q) − Ei(q₀) + (K − 1) ln(q/q₀)]/(2K√n),    L = nK log(1 + (K − 1)e^(−q)),    ρ² = 2(K − 1)√n q.

The curves are relative errors of log L, the largest over all starts, at two tolerances; the bounds of the claims are
dashed. Errors fall late, because log t alone then decides q. For K ≥ 3 they dip where stability makes the steps of the
explicit method shorter than the tolerance asks, before the stiff method takes over. The margin q of a run is read from
ρ². Single margins differ by a few times rtol near t = 10^30, where the explicit method works at its limit of stability
and raises rounding errors to the tolerance; their mean does not.

**Top right: a Hadamard start.** The classifier and the class means have the characters of (ℤ/2)^m as singular vectors.
The logit of class k for a sample of class j then depends on the product of k and j in the group only, so that the
residual is diagonalised by the characters too: the vectors stay, and

    σ̇_s = 2√n σ_s (1 − Σ_g p(g) χ_s(g)),    p = softmax(−q),    q(g) = (2/K) Σ_{s: χ_s(g) = −1} σ_s,    q(0) = 0.

Marks are σ as the library's flow has them, lines the solution of this equation by a method that knows neither W nor H,
and the dashed line is the ray, on which all starts end. (Where a² − n b² = c is not zero, 2√n σ becomes √(c² + 4nσ²).)

**Bottom left: a Lyapunov function.** Λ = log(arithmetic mean of σ) − log(geometric mean of σ) is positive unless all σ
are equal, which is neural collapse. It never increases. *Proof.* Each g ≠ 0 separates half of the characters, so the
mean of q(g) over g ≠ 0 is the mean σ̄ of σ. With 1 − Σ_g p(g)χ_s(g) = 2 Σ_{g: χ_s(g) = −1} p(g), sums over s give

    d(log σ̄)/dt = (2√n K/((K − 1)σ̄)) Σ_{g≠0} p(g)q(g),    d(mean of log σ)/dt = (2√n K/(K − 1)) Σ_{g≠0} p(g),

hence dΛ/d(log σ̄) = 1 − σ̄/⟨q⟩, where ⟨q⟩ is the mean of q(g) with the weights e^(−q(g)). These are larger where q is
smaller, so ⟨q⟩ ≤ σ̄ (Chebyshev's sum inequality), with equality only if all q(g), and with them all σ, are equal. ∎
*Convergence.* Λ ≤ Λ(0) keeps every σ_s/σ̄ above a positive constant. The σ_s increase; bounded ones would have a limit
at which the flow stops, but it never stops. So σ̄ → ∞. If Λ stayed above some ε > 0, the smallest margin would be at
most (1 − η)σ̄ and ⟨q⟩ at most (1 − η)σ̄ + K/e; then dΛ/d(log σ̄) would stay below a negative constant and Λ would become
negative. So Λ → 0. ∎ Near the end 1 − σ̄/⟨q⟩ ≈ −Var(q)/σ̄ and Var(q) = Var(σ)/K, so that Λ ∝ e^(−2σ̄/K) (dashed), about
(t log t)^(−2/K): a power of t, where random starts have powers of log t only.
The ratio max σ/min σ has the same limit, but is no Lyapunov function (dotted, K = 16). The flow raises the σ_s that
separate the closest pair of classes, and these can hold the largest. For K = 4 and 8 the ratio never grows.

**Bottom right: other losses.** If all margins are q and a sample's loss is φ(q), then dq/dt = −2q·nK φ′(q)/((K − 1)√n).
With φ ~ A e^(−κq) this gives L·t·log t → v*/(2κ) and ρ²/log t → 2v*/κ. Focal loss of exponent γ has κ = 1 + γ. Drawn is
the relative distance of L·t·log t from its limit and the next term of the expansion (dashed), in which nothing is
fitted.
"""


def _margins_at_start(config: Config) -> Float[Tensor, " B"]:
    """Margins q₀ from 0.05 to 10, even in their logarithm."""
    return torch.logspace(math.log10(0.05), 1, config.starts, dtype=torch.float64)


def _ray(config: Config, work: Work, sizes: tuple[int, int, int], rtol: float) -> Ray:
    K, n, d = sizes
    problem, q0 = ulpm.Problem([n] * K, d), _margins_at_start(config)
    one = ulpm.collapsed_state(problem, norm=math.sqrt(2 * problem.minimum_norm_value))
    root = q0.sqrt()[:, None, None]
    start = ulpm.State(one.W * root, one.H * root)
    if config.noise:
        noise = problem.random_state(config.seed, replicas=config.starts)
        size = config.noise * (start.squared_norm / noise.squared_norm).sqrt()[:, None, None]
        start = ulpm.State(start.W + size * noise.W, start.H + size * noise.H)
    start = ulpm.State(start.W.to(config.device), start.H.to(config.device))
    path = work.flow(problem, start, log10_time=config.log10_time, rtol=rtol, records=config.records)
    log_time = path.log_time.numpy(force=True)
    exact = np.broadcast_to(q0.numpy(), log_time.shape).copy()
    moved = np.isfinite(log_time)
    # A wrong factor of t is a shift of log t.
    shifted = log_time[moved] + math.log(config.time_factor / 2)
    exact[moved] = rays.cross_entropy_margin(shifted, exact[moved], K, n)
    return Ray(path, rtol, exact)


def _ray_claims(config: Config, data: Data) -> list[Claim]:
    claims = []
    for rtol in config.ray_rtols if data.rays else ():
        own = [each for each in data.rays if each.rtol == rtol]
        sizes = ", ".join(str(each.path.problem.num_classes) for each in own)
        over = f"largest over {config.starts} starts with q₀ from 0.05 to 10 and K = {sizes}"
        for name in ("q", "log L"):
            errors = [each.errors()[name] for each in own]
            late = [error[each.since :] for each, error in zip(own, errors, strict=True)]
            claims.append(
                Claim(
                    f"Collapsed ray: relative error of {name} at rtol = {rtol:g} at all records with t ≥ 100, {over}.",
                    greatest(torch.from_numpy(error) for error in late),
                    "<=",
                    max(rtol, 5e-9),
                    "q attracts: the error of a step, at most rtol, fades before many others are added; at rtol = 1e-9 "
                    "ten times as many steps are taken in the same time, and 5·rtol allows for their sum",
                )
            )
            end = greatest(torch.from_numpy(error[-1]) for error in errors)
            claims.append(
                Claim(
                    f"Collapsed ray: relative error of {name} at rtol = {rtol:g} at "
                    f"log10 t = {config.log10_time:,.0f}, {over}.",
                    end,
                    "<=",
                    max(1e-5 * rtol, 1e-13),
                    "late, q = log t + log log t + …, so that an error of 20·rtol in the clock t·L is one of as much "
                    "in q itself, and is divided by q = 2·10^6; the end of a run is reached to 1e-13",
                )
            )
    if data.rays:
        claims += _late_claims(config, data)
    return claims


def _late_claims(config: Config, data: Data) -> list[Claim]:
    """The constants of the flow, from its own log L and ρ² at the finest tolerance."""
    third, excess = [], []
    rtol = min(config.ray_rtols)
    for each in [each for each in data.rays if each.rtol == rtol]:
        problem = each.path.problem
        K, n, v = problem.num_classes, problem.class_counts[0], problem.minimum_norm_value
        late = each.path.log_time.amin(1).cpu() >= 100 * math.log(10)
        log_time, log_loss, q = (
            values[late.numpy()]
            for values in (each.path.log_time.numpy(force=True), each.path.log_loss.numpy(force=True), each.margin)
        )
        shift = rays.CROSS_ENTROPY.shift(q, K, n)
        loss, next_of_loss = np.exp(log_loss + log_time) * log_time / (v / 2) - 1, (1 - shift) / q
        norm, next_of_norm = q / log_time - 1, shift / log_time
        early = log_time <= 1000 * math.log(10)
        for distance, term in ((loss, next_of_loss), (norm, next_of_norm)):
            third.append((np.abs(distance - term) * (q / shift) ** 2)[early].max())
            excess.append((np.abs(distance[-1]) - 2 * np.abs(term[-1])).max())
    return [
        Claim(
            "Collapsed ray: what the next term leaves of the relative distances of L·t·log t from v*/2 and of ρ²/log t "
            f"from 2v*, in units of (log q/q)² with its constants, largest over t from 10^100 to 10^1000, "
            f"{config.starts} starts and all K.",
            greatest(third),
            "<=",
            2.0,
            "the term after the next is of that order, and its coefficients are below 2",
        ),
        Claim(
            "Collapsed ray: relative distance of L·t·log t from v*/2 and of ρ²/log t from 2v* at "
            f"log10 t = {config.log10_time:,.0f}, in excess of twice the next term, largest over {config.starts} "
            "starts and all K.",
            greatest(excess),
            "<=",
            20 * rtol,
            "the next term, of order log q/q, is what is left of the distance; 20·rtol is the error of log L",
        ),
    ]


def _singular_values(config: Config, K: int) -> Float[Tensor, "B s"]:
    """log σ normal with standard deviation 0.5; for K = 16 the last start is one from which max σ/min σ grows."""
    generator = torch.Generator().manual_seed(config.seed + K)
    sigma = torch.exp(0.5 * torch.randn(config.starts, K - 1, generator=generator, dtype=torch.float64))
    if K == 16:
        # One pair of classes is close: the σ that separate it are small, but one, and the flow raises those.
        separating = hadamard.characters(K)[1, 1:] == -1
        sigma[-1] = torch.where(separating, 1.0, 4.0)
        sigma[-1, int(separating.nonzero()[0])] = 4.0
        sigma[-1, int((~separating).nonzero()[0])] = 1.0
        sigma[-1] *= 2
    return sigma


def _diagonal(config: Config, work: Work, sizes: tuple[int, int, int]) -> Diagonal:
    K, n, d = sizes
    problem, sigma = ulpm.Problem([n] * K, d), _singular_values(config, K)
    turn = None
    if config.turned:
        generator = torch.Generator().manual_seed(config.seed)
        turn = torch.linalg.qr(torch.randn(K - 1, K - 1, generator=generator, dtype=torch.float64)).Q
    start = hadamard.start(problem, sigma, turn, config.excess)
    start = ulpm.State(start.W.to(config.device), start.H.to(config.device))
    # Deviations of σ fall like e^(−q/K) once they are small: until then σ is solved for, and then on the ray.
    met = 150.0 * K
    path = work.flow(
        problem,
        start,
        log10_time=400.0 * K / math.log(10),
        rtol=config.hadamard_rtol,
        records=config.hadamard_records,
        snapshots=config.hadamard_records,
    )
    if path.snapshots is None:
        raise ValueError("the run has no snapshots.")
    found, turned = hadamard.seen(problem, path.snapshots, turn)
    log_time = path.log_time[:, 0].cpu()
    solved = hadamard.reduced_flow(sigma, n, log_time[log_time <= met].tolist())
    function = hadamard.lyapunov if config.function == "lyapunov" else hadamard.log_ratio
    return Diagonal(path, found, turned, solved, function(found), _slopes(found, config.hadamard_rtol))


def _slopes(sigma: Float[Tensor, "R B s"], rtol: float) -> Float[Tensor, " B"]:
    """−K/2·d log Λ/dσ̄ of each start where deviations of σ are below 0.1 and Λ above the square of its error."""
    level, mean = hadamard.lyapunov(sigma), sigma.mean(-1)
    inside = (2 * level * mean.square() < 1e-2) & (level > (100 * rtol) ** 2)
    slopes = []
    for own, x, y in zip(inside.T, mean.T, level.T, strict=True):
        x, y = x[own], y[own].log()
        slopes.append(-(sigma.shape[-1] + 1) / 2 * (y[-1] - y[0]) / (x[-1] - x[0]) if len(x) > 1 else x.new_tensor(0))
    return torch.stack(slopes)


def _hadamard_claims(config: Config, data: Data) -> list[Claim]:
    if not data.diagonals:
        return []
    rtol = config.hadamard_rtol
    sizes = ", ".join(str(each.path.problem.num_classes) for each in data.diagonals)
    over = f"largest over all records, {config.starts} starts and K = {sizes}"
    growth = [(each.level[1:] - each.level[:-1]).amax() for each in data.diagonals]
    name = "Λ" if config.function == "lyapunov" else "log(max σ/min σ)"
    return [
        Claim(
            f"Hadamard starts: what W and H have of other singular vectors, relative to ‖W‖ and ‖H‖, {over}.",
            greatest(each.turned for each in data.diagonals),
            "<=",
            3 * rtol,
            "the vectors are frozen, but at its limit of stability the explicit method raises rounding errors until "
            "its error test sees them: to a few times the tolerance",
        ),
        Claim(
            f"Hadamard starts: relative error of σ against their own equation, and against the ray at late times, "
            f"{over}.",
            greatest(each.error() for each in data.diagonals),
            "<=",
            10 * rtol,
            "a run takes about a hundred steps, each with an error of at most rtol·ρ in W and H, and independent "
            "errors grow like the root of their number",
        ),
        Claim(
            f"Hadamard starts: largest increase of {name} from one record to the next, {over}.",
            greatest(growth),
            "<=",
            (10 * rtol) ** 2,
            f"{name} never increases. Relative errors of σ, up to 10·rtol, move Λ by their square where it is about 0; "
            "where it is not, it falls by far more from record to record",
        ),
        Claim(
            f"Hadamard starts: {name} at log t = 400 K, {over}.",
            greatest(each.level[-1] for each in data.diagonals),
            "<=",
            (10 * rtol) ** 2,
            "the flow ends at neural collapse, where it is 0 and quadratic in the errors of σ",
        ),
        Claim(
            "Hadamard starts: relative distance of d log Λ/dσ̄ from −2/K where all σ agree to 0.1, largest over all "
            f"starts and K = {sizes}.",
            greatest((each.slopes - 1).abs() for each in data.diagonals),
            "<=",
            0.02,
            "the next term is of relative size 0.1 where that begins and falls as fast as √Λ, so that it moves log Λ "
            "by about 0.1 while that falls by more than 10",
        ),
        Claim(
            f"Random σ: excess of the weighted mean of margins ⟨q⟩ over the mean of σ, relative to that, largest over "
            f"{config.points} points for each K = {', '.join(map(str, data.excess))}.",
            greatest(data.excess.values()),
            "<=",
            1e-12,
            "⟨q⟩ ≤ σ̄ is the theorem; sums of up to 31 numbers are rounded",
        ),
    ]


def _excess(config: Config, K: int) -> float:
    """Largest ⟨q⟩/σ̄ − 1 over σ of all sizes, half of them on two levels."""
    generator = torch.Generator().manual_seed(config.seed + 100 + K)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    spread, size = normal(config.points, 1).exp(), (2 * normal(config.points, 1)).exp()
    smooth = (spread * normal(config.points, K - 1)).clamp(-30, 30).exp()
    levels = torch.where(normal(config.points, K - 1) > 0, 1.0, (-spread).exp())
    half = config.points // 2
    sigma = size * torch.cat([smooth[:half], levels[half:]])
    return greatest(hadamard.mean_margin(sigma) / sigma.mean(-1) - 1)


def _loss_claims(config: Config, data: Data) -> list[Claim]:
    if not data.constants:
        return []
    claims = [
        Claim(
            f"Ray of other losses: relative distance of any margin of a gradient flow by autograd from the solution of "
            f"dq/dt = −2q·nK φ′(q)/((K − 1)√n), largest over t ≤ 100 and {', '.join(data.direct)}.",
            greatest(data.direct.values()),
            "<=",
            1e-9,
            "both are integrated at a tolerance of 1e-11, in less than a hundred steps",
        )
    ]
    for each in data.constants:
        claims.append(
            Claim(
                f"Constants of {each.name}: relative distance of L·t·log t from v*/(2κ) and of ρ²/log t from 2v*/κ, "
                f"κ = {each.kappa:g}, at κq = 10^6, K = 4, n = 5.",
                float(max(abs(each.loss[-1]), abs(each.norm[-1]))),
                "<=",
                2 * float(max(abs(each.loss_term[-1]), abs(each.norm_term[-1]))),
                "twice the next term of the expansion, of order log q/q",
            )
        )
        rest = max(
            float(np.max(np.abs(each.loss - each.loss_term) / each.unit)),
            float(np.max(np.abs(each.norm - each.norm_term) / each.unit)),
        )
        claims.append(
            Claim(
                f"Constants of {each.name}: what the next term leaves of both distances, in units of (log q/q)² with "
                "its constants, largest over κq from 100 to 10^6.",
                rest,
                "<=",
                2.0,
                "the term after the next is of that order, and its coefficients are below 2",
            )
        )
    return claims


def _constants(config: Config, tail: rays.Tail) -> solved_figure.Constants:
    """Distances from both limits along the ray, with the next terms, for K = 4, n = 5."""
    K, n = 4, 5
    kappa = 1.0 if config.kappa_is_one else tail.kappa
    v = (K - 1) * math.sqrt(n)
    q = np.geomspace(100, 1e6, 60) / tail.kappa
    q = np.maximum(q, 100)
    log_t = rays.log_time(tail, q, K, n)
    # log(L·t) from the logarithms: each is up to 10^6 and is rounded to 1e-10.
    loss = np.exp(math.log(n * K) + tail.log_loss(q, K) + log_t) * log_t / (v / (2 * kappa)) - 1
    norm = 2 * v * q / log_t / (2 * v / kappa) - 1
    shift = tail.shift(q, K, n)
    x = kappa * q
    return solved_figure.Constants(
        tail.name, tail.kappa, log_t, loss, norm, (1 - shift) / x, shift / log_t, (shift / x) ** 2 + 1e-9
    )


def _direct_errors(tails: Sequence[rays.Tail]) -> dict[str, float]:
    """Margins of full gradient flows by autograd and scipy, against the scalar equation, relative, by loss."""
    problem = ulpm.Problem([3] * 4, 3)
    K, n = 4, 3
    one_hot = torch.nn.functional.one_hot(problem.labels).T.bool()

    def focal(gamma: float) -> Callable[[Tensor], Tensor]:
        def loss(Z: Tensor) -> Tensor:
            log_p = torch.log_softmax(Z, 0).T[one_hot.T]
            return ((1 - log_p.exp()).pow(gamma) * -log_p).sum()

        return loss

    def slope(tail: rays.Tail) -> Callable[[Float[np.ndarray, "1"]], Float[np.ndarray, "1"]]:
        return lambda q: np.exp(tail.log_minus_slope(q, K))

    def exponential(Z: Tensor) -> Tensor:
        return (Z - Z.T[one_hot.T])[~one_hot].exp().sum()

    losses = {tail.name: (focal(tail.gamma), slope(tail)) for tail in tails}
    if losses:
        losses["exponential loss"] = exponential, lambda q: (K - 1) * np.exp(-q)
    times = np.linspace(0, 100, 30)
    settings = {"method": "DOP853", "t_eval": times, "rtol": 1e-11, "atol": 1e-11}
    start = flat(ulpm.collapsed_state(problem, norm=math.sqrt(2 * problem.minimum_norm_value)))
    errors = {}
    for name, (loss, minus_slope) in losses.items():

        def rate(_: float, y: np.ndarray, loss: Callable[[Tensor], Tensor] = loss) -> np.ndarray:
            point = torch.from_numpy(y).requires_grad_()
            state = unflat(problem, point)
            (gradient,) = torch.autograd.grad(loss(state.W @ state.H), point)
            return -gradient.numpy()

        def scalar(_: float, q: np.ndarray, slope: Callable[..., np.ndarray] = minus_slope) -> np.ndarray:
            speed: np.ndarray = 2 * q * n * K * slope(q) / ((K - 1) * math.sqrt(n))
            return speed

        states = solve_ivp(rate, (0, times[-1]), start.numpy(), **settings).y
        q = solve_ivp(scalar, (0, times[-1]), [1.0], **settings).y[0]
        worst = []
        for y, want in zip(states.T, q, strict=True):
            state = unflat(problem, torch.from_numpy(y.copy()))
            Z = state.W @ state.H
            margins = (Z.T[one_hot.T] - Z)[~one_hot]
            worst.append((margins / want - 1).abs().max())
        errors[name] = greatest(worst)
    return errors
