"""Critical points of the loss on the sphere ‖W‖² + ‖H‖² = ρ²: which there are, and the way down from a saddle.

A critical point satisfies ∇L + μΘ = 0 with μ = −⟨∇L, Θ⟩/ρ². The tangential Hessian Π(∇²L + μI)Π is that of L along
geodesics of the sphere. Everything is computed divided by L, so that no loss is too small: with F = −∇ log L,

    μ/L = ⟨F, Θ⟩/ρ²,    ∇²L/L = ∇² log L + F Fᵀ

Two facts decide (the second needs no critical point, and balancedness WᵀW = HHᵀ follows at one):

(a) Curvature. For a unit tangent δ = (δW, δH),  δᵀ∇²L δ + μ = μ − 2⟨R, δW δH⟩ + (a term ≥ 0) ≥ μ − ‖R‖_op.
    If a unit vector a ∈ R^d is orthogonal to the rows of W and the columns of H, then (u aᵀ, a vᵀ)/√2 attains it, with
    u, v the top singular vectors of R. Such an a exists at every critical point with μ ≠ 0 if d ≥ K.
(b) Optimality. L is convex in Z and ‖Z‖_* ≤ ½ρ², hence for every point of the sphere, with its own μ and R,
        L − min L ≤ ½ρ² (‖R‖_op − μ),  the least value on the sphere being the minimum.
    Taking the point itself shows that ‖R‖_op ≥ μ always, so that equality is what certifies a global minimum.

Sources: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022; for the free
direction, Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A Geometric Analysis of Neural Collapse with Unconstrained Features",
2021; for (b), Frank and Wolfe, "An algorithm for quadratic programming", 1956.
"""

import dataclasses
import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks
from ulpm._modes import plain_arithmetic
from ulpm._threads import suitable_threads
from ulpm.losses import CrossEntropy
from ulpm.objective import Objective
from ulpm.optimality import kkt
from ulpm.optimality.lanczos import smallest_eigenpair
from ulpm.problem import Problem, checked
from ulpm.state import Factors, State

__all__ = ["CriticalPoint", "sphere_critical_point"]

Kind = Literal["global_minimum", "strict_saddle", "undetermined", "not_critical"]

# The tangential share of the gradient up to which a point counts as critical.
_CRITICAL = 1e-8
# Beside a critical point, rotations of R^d have a curvature of the order of the tangential share times ρ over the least
# singular value of [Wᵀ H], and a global minimum misses ‖R‖_op = μ by about that share: this multiple decides nothing.
_MAGNIFIED = 100.0
# What a proof of optimality must be better than to be one, as a share of the loss and of what tells points apart.
_LARGEST_EXCESS = 1e-2
_LARGEST_UNCERTAINTY = 1e-3
# The bound (a) and the curvature along its direction enclose the smallest one: here they agree, as shares of ‖R‖_op.
_CLOSED_FORM = 1e-12
_LANCZOS = 1e-9
_MOST_PRODUCTS = 3000


@dataclasses.dataclass(frozen=True, eq=False)
class CriticalPoint:
    """What a point of the sphere ‖W‖² + ‖H‖² = ρ² is for the loss on it; multiplier and curvatures are divided by L.

    With τ the ``tangential_gradient`` and η = 100τ + rounding of the logits, the ``kind`` is

    ``not_critical``  if τ > 1e-8, by more than rounding of the given numbers makes it; else
    ``global_minimum``  if ‖R‖_op ≤ μ(1 + η), which proves (L − min L)/L ≤ ½ρ²μη/L, where that means something: η ≤
        1e-3·min(1, ρ²), since all points near 0 are alike up to ρ², and ½ρ²μη/L ≤ 1e-2, which float64 allows up to
        norms ρ of some thousands;
    ``strict_saddle``  if a curvature is below −η‖R‖_op, by more than ``curvature_error``;
    ``undetermined``  if neither is shown. Rotations of R^d give a curvature of 0 wherever they move the point, so that
        local minima that are not global are here, and so are points whose numbers are too coarse to tell, such as large
        ones in float32.

    Attributes:
        tangential_gradient: τ = ‖∇L + μΘ‖/‖∇L‖.
        multiplier: μ/L = −⟨∇L, Θ⟩/(ρ²L).
        operator_norm: ‖R‖_op/L, never below the multiplier. Their difference bounds the curvature.
        min_curvature: The smallest eigenvalue of the tangential Hessian Π(∇²L + μI)Π/L: the second derivative of L/L(Θ)
            along the geodesic in ``direction``, also where the point is not critical.
        curvature_error: An eigenvalue lies that near to ``min_curvature``, and the smallest is not above it.
        direction: The unit tangent of ``min_curvature``, signed so that L does not rise to first order. Where the
            curvature is negative L falls along it: a witness against a minimum.
        kind: One of the four words above.

    >>> problem = ulpm.Problem([5] * 4, feature_dim=4)
    >>> square = ulpm.block_state(problem, norm=4.0)
    >>> point = ulpm.sphere_critical_point(problem, square)
    >>> lower = ulpm.State(square.W + 0.1 * point.direction.W, square.H + 0.1 * point.direction.H)
    >>> point.min_curvature < 0, bool(ulpm.log_loss(problem, lower) < ulpm.log_loss(problem, square))
    (True, True)
    """

    tangential_gradient: float
    multiplier: float
    operator_norm: float
    min_curvature: float
    curvature_error: float
    direction: State
    kind: Kind


def sphere_critical_point(problem: Problem, state: State) -> CriticalPoint:
    """Classify a single state as a critical point of the loss on its sphere, see :class:`CriticalPoint`.

    Right at any loss, as everything is divided by it; computed in float64 on the state's device. The smallest curvature
    comes from the closed form μ − ‖R‖_op where a direction of R^d is free, else from Lanczos iterations, each of which
    costs about two evaluations of the field; their start is random with a fixed seed. They keep 49 vectors of the size
    of the state.

    Args:
        problem: Plain cross-entropy without decay and bias.
        state: A single state that is not zero.

    Returns:
        A CriticalPoint.

    Raises:
        TypeError: If one of both is something else.
        ValueError: For another loss, or a state that does not fit the problem, has replicas or is zero.

    >>> problem = ulpm.Problem([5] * 4, feature_dim=4)
    >>> ulpm.sphere_critical_point(problem, ulpm.block_state(problem, norm=4.0)).kind
    'strict_saddle'
    >>> ulpm.sphere_critical_point(problem, ulpm.collapsed_state(problem, norm=4.0)).kind
    'global_minimum'
    """
    checked(problem).check(state)
    if problem.loss != CrossEntropy() or problem.decayed or problem.bias:
        raise ValueError(
            "sphere_critical_point knows the landscape of plain cross-entropy without decay and bias, which grows "
            "norms for ever: give a problem like that, or see certify and optimum."
        )
    if state.batch_shape:
        raise ValueError(
            f"sphere_critical_point takes a single state, but this one has replica axes {list(state.batch_shape)}: "
            "pick one, as in State(state.W[0], state.H[0])."
        )
    _checks.computes_in_float64(state.W.device)
    # Squares of smaller or larger norms, and products of these with the logits, leave the range of float64.
    if not 1e-290 < float(state.squared_norm.detach().double()) < 1e200:
        raise ValueError("the state is zero, or so small or so large that its norm underflows or overflows: scale it.")
    with plain_arithmetic(state.H.device), suitable_threads(state.H):
        return _classify(_Sphere(problem, state.to(dtype=torch.float64), torch.finfo(state.W.dtype).eps))


class _Sphere:
    """The loss near a point of its sphere, divided by its value there. Vectors are (W, H) laid end to end."""

    def __init__(self, problem: Problem, point: State, given_epsilon: float) -> None:
        self.point = point
        self.given_epsilon = given_epsilon
        self.squared_norm = float(point.squared_norm)
        self._objective = Objective(problem, point.W.device)
        self.loss, (W_dot, H_dot, _) = self._objective(point.factors)
        radial, force = point.vector(), Factors(W_dot, H_dot).vector()
        self.tangential_gradient = float(kkt.stationarity(point.W, point.H, point.W @ point.H, self.loss.residual))
        self.multiplier = float(force @ radial / (radial @ radial))
        self.normal = radial / torch.linalg.vector_norm(radial)
        self.tangential_force = self.project(force)

    def project(self, vector: Float[Tensor, " D"]) -> Float[Tensor, " D"]:
        """Π: what of a vector is tangential to the sphere."""
        tangent: Tensor = vector - self.normal * (self.normal @ vector)
        return tangent

    def hessian(self, tangent: Float[Tensor, " D"]) -> Float[Tensor, " D"]:
        """(∇²L + μI)/L times a tangent, up to a multiple of the normal."""
        change = Factors(*self.parts(tangent))
        image = self._objective.jacobian_product(self.point.factors, change, self.loss)
        return self.multiplier * tangent - image.vector() + self.tangential_force * (self.tangential_force @ tangent)

    def parts(self, vector: Float[Tensor, " D"]) -> tuple[Float[Tensor, "K d"], Float[Tensor, "d N"]]:
        """The two parts of a vector."""
        size = self.point.W.numel()
        return vector[:size].view_as(self.point.W), vector[size:].view_as(self.point.H)

    def uncertainty(self) -> float:
        """η: the share of ‖R‖_op that rounding of the logits and the tangential gradient leave open."""
        return _MAGNIFIED * self.tangential_gradient + self.rounding(torch.finfo(self.normal.dtype).eps)

    def rounding(self, epsilon: float) -> float:
        """The share of the gradient that numbers of relative precision ``epsilon`` leave open, by the logits."""
        largest_logit = float(self.point.W.norm(dim=1).max() * self.point.H.norm(dim=0).max())
        return 100 * epsilon * (1 + largest_logit)


def _classify(sphere: _Sphere) -> CriticalPoint:
    scale, witness = _free_witness(sphere)
    bound = sphere.multiplier - scale
    excess = float(witness @ sphere.hessian(witness)) - bound
    # With a free direction the witness is tangential as it is; in d = 1 it can be the normal itself.
    is_tangential = float(torch.linalg.vector_norm(witness)) > 1 - _CLOSED_FORM
    if is_tangential and excess <= _CLOSED_FORM * scale:
        curvature, direction, error = bound, witness, abs(excess)
    else:
        generator = torch.Generator("cpu").manual_seed(0)
        noise = torch.randn(len(witness), generator=generator, dtype=witness.dtype, device="cpu").to(witness)
        # The witness has a low curvature even where it does not attain the bound.
        start = witness + noise / math.sqrt(len(noise))
        pair = smallest_eigenpair(sphere.hessian, sphere.normal, start, _LANCZOS * scale, _MOST_PRODUCTS)
        curvature, direction, error = pair.value, pair.vector, pair.error
    if float(sphere.tangential_force @ direction) < 0:
        direction = -direction
    return CriticalPoint(
        tangential_gradient=sphere.tangential_gradient,
        multiplier=sphere.multiplier,
        operator_norm=scale,
        min_curvature=curvature,
        curvature_error=error,
        direction=State(*sphere.parts(direction)),
        kind=_kind(sphere, scale, curvature + error),
    )


def _kind(sphere: _Sphere, scale: float, largest_curvature: float) -> Kind:
    if sphere.tangential_gradient > _CRITICAL:
        return "not_critical" if sphere.tangential_gradient > sphere.rounding(sphere.given_epsilon) else "undetermined"
    uncertainty = sphere.uncertainty()
    if scale <= sphere.multiplier * (1 + uncertainty):
        excess = sphere.squared_norm * sphere.multiplier * uncertainty / 2
        resolved = uncertainty <= _LARGEST_UNCERTAINTY * min(1.0, sphere.squared_norm)
        return "global_minimum" if resolved and excess <= _LARGEST_EXCESS else "undetermined"
    return "strict_saddle" if largest_curvature < -uncertainty * scale else "undetermined"


def _free_witness(sphere: _Sphere) -> tuple[float, Float[Tensor, " D"]]:
    """‖R‖_op/L and the tangent part of (u aᵀ, a vᵀ)/√2, a the direction of R^d that W and H use least."""
    W, H, R = sphere.point.W, sphere.point.H, sphere.loss.residual
    left = torch.linalg.eigh(R @ R.mT).eigenvectors[:, -1]
    right = R.mT @ left
    scale = torch.linalg.vector_norm(right)
    # A triangular factor of [Wᵀ H]ᵀ: its Gram matrix would know a null direction only to √ε.
    triangle = torch.linalg.qr(torch.cat([W, H.mT]), mode="r").R
    free = torch.linalg.svd(triangle, full_matrices=True).Vh[-1]
    witness = Factors(torch.outer(left, free), torch.outer(free, right / scale)).vector() / math.sqrt(2)
    return float(scale), sphere.project(witness)
