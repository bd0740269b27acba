"""Bounds of an optimum from any point, without a solver.

Where margins grow for ever, the optimum is that of the margin problem (below); where something finite minimises Φ, it
is that minimum (``minimum_bounds``).

    (MNS)         v* = min ½(‖W‖² + ‖H‖²)    subject to   q_{ij} = Z_{y_i,i} − Z_{j,i} ≥ 1,  Z = W H
    (relaxation)  min ‖Z‖_*                  subject to   the same;      dual   max Σ λ_{ij},  ‖G(λ)‖_op ≤ 1,  λ ≥ 0

with column i of G(λ) equal to Σ_j λ_{ij}(e_{y_i} − e_j). As ½(‖W‖² + ‖H‖²) ≥ ‖WH‖_*, and WH has factors in R^d that
attain it, a point with q_min > 0 shows that v* ≤ ‖Z‖_*/q_min ≤ ½ρ²/q_min. And λ_{ij} = p_{ij}/‖R‖_op is feasible in the
dual whatever the point, since G(p) = R: v* ≥ Σ_i R_{y_i,i}/‖R‖_op. Along the gradient flow, multipliers ∝ p_{ij} tend
to those of a KKT point (Lyu and Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020);
where that is the optimum and d ≥ K − 1, the bounds close, like 1/log t.
"""

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulpm import _checks
from ulpm._modes import plain_arithmetic
from ulpm.losses import LossAt
from ulpm.losses.base import largest_gaps
from ulpm.objective import Objective
from ulpm.optimality import kkt
from ulpm.optimality.minimum_bounds import minimum_bounds
from ulpm.optimality.norms import euclidean_norm, nuclear_norm, operator_norm
from ulpm.problem import Problem, checked
from ulpm.state import Factors, State

__all__ = ["Certificate", "certificate_at", "certify", "has_certificate"]


@dataclasses.dataclass(frozen=True, eq=False)
class Certificate:
    """What a point proves about the optimum v*, and how far it is from a KKT point itself.

    Without decay, for cross-entropy or the focal loss, v* is the optimum of the margin problem:

        lower_bound           Σ_i R_{y_i,i} / ‖R‖_op                   ≤ v*, at any point
        upper_bound           ½ρ² / q_min                              ≥ v*
        nuclear_upper_bound   ‖WH‖_* / q_min                           ≥ v*, and never above ``upper_bound``
        stationarity          min_c ‖Θ + c ∇L‖ / ‖Θ‖
        complementarity       Σ p_{ij}(q_{ij} − q_min) / (q_min Σ p_{ij})

    All but the lower bound are inf where nothing separates (q_min ≤ 0). With a bias the margin problem is that of W and
    H alone, since b grows more slowly than their product: q_min is that of W H, and p_{ij} those of W H + b1ᵀ.

    With both decays positive and a convex loss, v* is the minimum of Φ. With c = √(λ_W λ_H), b̂ the bias that is best
    for W H, G = −∇L(W H + b̂1ᵀ), and s = min(1, c/‖G‖_op):

        lower_bound           −L*(−s G)                                ≤ v*, by Fenchel duality, at any point
        upper_bound           Φ(W, H, b)                               ≥ v*
        nuclear_upper_bound   L(W H + b̂1ᵀ) + c‖WH‖_*                   ≥ v*, and never above ``upper_bound``
        stationarity          ‖∇Φ‖ / (‖∇L‖ + ‖(λ_W W, λ_H H)‖), gradients in W, H and b
        complementarity       1 − s⟨G, WH⟩ / (c‖WH‖_*), 0 where W H = 0

    With neither decay but a loss that finite logits minimise, v* is the least loss, which is the lower bound; both
    upper ones are Φ, complementarity is 0, and stationarity ‖∇L‖ / (√N ρ) of the summed loss, with ρ² + N in the place
    of ρ² if there is a bias. For squared error v* = 0, and the relative gap is inf until the loss is 0.

    float64 with the replica axes of the state. Bounds hold up to rounding, 1e-14 relative.

    ``relaxation_tight`` tells whether factors of dimension d can attain the optimum of the relaxation whatever it is:
    d ≥ K − 1, and d ≥ K for squared error without bias. In the margin problem its logits are unique and of rank K − 1
    (Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting Neural-Collapse Geometry", 2022); with d
    below that no lower bound exceeds the value of the relaxation, which is below v*, and the gap stays open whatever
    the point. (With decay the rank may be smaller, and then the gap can close all the same.)

    >>> problem = ulpm.Problem([5] * 4, feature_dim=3)
    >>> certificate = ulpm.certify(problem, ulpm.collapsed_state(problem))
    >>> bool(certificate.holds(1e-12)), certificate.relaxation_tight
    (True, True)
    """

    lower_bound: Float[Tensor, "*batch"]
    upper_bound: Float[Tensor, "*batch"]
    nuclear_upper_bound: Float[Tensor, "*batch"]
    stationarity: Float[Tensor, "*batch"]
    complementarity: Float[Tensor, "*batch"]
    relaxation_tight: bool

    @classmethod
    def of(cls, problem: Problem, **columns: Float[Tensor, "*batch"]) -> "Certificate":
        """The certificate with these ``columns`` for points of ``problem``."""
        deficiency = 1 if problem.bias else problem.loss.rank_deficiency
        return cls(relaxation_tight=problem.feature_dim >= problem.num_classes - deficiency, **columns)

    def columns(self) -> dict[str, Float[Tensor, "*batch"]]:
        """The five numbers by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[:-1]}

    @property
    def gap(self) -> Float[Tensor, "*batch"]:
        """nuclear_upper_bound/lower_bound − 1: v* and the value of this point's logits differ by this share at most."""
        ratio = self.nuclear_upper_bound / self.lower_bound - 1
        return torch.where(self.nuclear_upper_bound == self.lower_bound, 0.0, ratio)

    def holds(self, tol: float) -> Bool[Tensor, "*batch"]:
        """Whether the point's logits are proven optimal within a relative tolerance.

        In the margin problem they are scaled to q_min = 1, with decay taken as they are.

        Args:
            tol: The largest ``gap`` that counts as optimal.
        """
        return self.gap <= tol

    def __str__(self) -> str:
        """A sentence a point, where there is one, and one more if the gap cannot close."""
        columns = (self.lower_bound, self.nuclear_upper_bound, self.gap)
        lines = [
            f"The optimum lies in [{lower:.8g}, {upper:.8g}]" + (f", relative gap {gap:.2g}." if lower else ".")
            if upper < torch.inf
            else f"The optimum is at least {lower:.8g}; the point separates nothing, so that no upper bound follows."
            for lower, upper, gap in torch.stack(columns, -1).reshape(-1, 3).tolist()
            if lower == lower  # nan: a record that a replica did not reach
        ]
        if not self.relaxation_tight:
            lines.append("For so few features the convex relaxation is not tight: the gap stays open at every point.")
        return "\n".join(lines)


def has_certificate(problem: Problem) -> bool:
    """Whether ``certify`` knows something about the problem.

    Not for the focal loss with decay, which is not convex, nor for one positive decay alone.
    """
    return problem.has_margins or (problem.attained and problem.loss.convex)


def certify(problem: Problem, state: State) -> Certificate:
    """Bounds of the optimal value v* and KKT residuals, see :class:`Certificate`; right at any loss, e^−10⁶ included.

    Computed in float64 on the device of the state. Each replica costs four products of the size of W H and the singular
    values of two K × K matrices; with decay and a bias some more products, for the best b.

    Args:
        problem: Whose optimum is bounded. Of the focal loss with decay, and of one positive decay alone, nothing is
            known.
        state: Any point, with or without replicas.

    Returns:
        A Certificate whose numbers have the replica axes of ``state``.

    Raises:
        TypeError: If one of both is something else.
        ValueError: If the state does not fit the problem, its norm overflows, or nothing is known about the problem.

    >>> problem = ulpm.Problem([5] * 4, feature_dim=20)
    >>> path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=1000, records=2)
    >>> found = ulpm.certify(problem, path.final_state)
    >>> f"{float(found.lower_bound):.4f} ≤ v* ≤ {float(found.nuclear_upper_bound):.3f}"
    '6.7082 ≤ v* ≤ 6.709'
    """
    checked(problem).check(state)
    _must_be_known(problem)
    _checks.computes_in_float64(state.W.device)
    with plain_arithmetic(state.W.device):
        # Not by State.to, which would look for NaN and infinity again.
        precise = Factors(state.W.double(), state.H.double(), None if state.b is None else state.b.double())
        if not bool(torch.isfinite(euclidean_norm(precise.W, precise.H).square()).all()):
            raise ValueError("the state is so large that its logits or its norm overflow: scale it down.")
        return certificate_at(Objective(problem, state.W.device), precise)


def _must_be_known(problem: Problem) -> None:
    if has_certificate(problem):
        return
    if problem.decayed and not min(problem.weight_decay) > 0:
        raise ValueError(
            "with only one decay positive no state minimises the objective, so that there is no optimum to enclose: "
            "give two positive decays, or none."
        )
    raise ValueError(
        f"the {problem.loss.name} loss with decay is not convex in the logits, so that no point of it bounds the "
        "optimum from below: certify a problem without decay, or with cross-entropy or squared error."
    )


def certificate_at(
    objective: Objective,
    at: Factors,
    loss: LossAt | None = None,
    products: Float[Tensor, "*batch K N"] | None = None,
) -> Certificate:
    """``certify`` of float64 tensors that are known to fit, as the records of a run are.

    The loss there, and W H, save computing them again.
    """
    _must_be_known(objective.problem)
    if not objective.problem.has_margins:
        return Certificate.of(objective.problem, **minimum_bounds(objective, at))
    loss = objective.loss(at) if loss is None else loss
    return _of_margins(objective, at, loss, at.W @ at.H if products is None else products)


def _of_margins(objective: Objective, at: Factors, loss: LossAt, Z: Float[Tensor, "*batch K N"]) -> Certificate:
    problem, shard = objective.problem, objective.shard
    W, H, b = at
    if b is not None:
        gaps = largest_gaps(Z, objective.label_rows(Z))
        largest = shard.all_gather(gaps.amax((-2, -1))).amax(0)[..., None, None]
        loss = dataclasses.replace(loss, largest_gaps=largest.expand_as(gaps))

    margin = loss.margin
    separating = margin > 0

    def where_separating(value: Tensor) -> Tensor:
        return torch.where(separating, value, torch.inf)

    R = loss.residual
    return Certificate.of(
        problem,
        # Columns of R sum to 0, so that half the sum of absolute values is the sum of the label entries.
        lower_bound=shard.all_reduce(R.abs().sum((-2, -1))) / 2 / operator_norm(R, shard),
        upper_bound=where_separating(euclidean_norm(W, H, shard=shard).square() / 2 / margin),
        nuclear_upper_bound=where_separating(nuclear_norm(Z, shard) / margin),
        stationarity=where_separating(kkt.stationarity(W, H, Z, R, shard)),
        complementarity=kkt.complementarity(objective.label_rows(Z), Z, R, margin, shard),
    )
