"""States whose geometry is known in closed form: the optima of the model, and the other critical points among them.

All are balanced, WᵀW = HHᵀ, so that ‖W‖ = ‖H‖, and have the asked norm ρ = √(‖W‖² + ‖H‖²). Coordinates are those of
an orthonormal basis of the logits' column space; features beyond the rank are zero. float64 on the CPU. And the axes
on which such states are looked at.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks, _memory
from ulpm.problem import Problem, checked
from ulpm.state import State

__all__ = ["block_state", "collapsed_state", "principal_axes", "seli_state", "simplex_etf"]


def simplex_etf(num_classes: int, feature_dim: int) -> Float[Tensor, "K d"]:
    """K unit vectors with cosines −1/(K−1), the rows of V: V Vᵀ = K/(K−1) · (I − 11ᵀ/K), Σ_k v_k = 0.

    A simplex equiangular tight frame.

    Args:
        num_classes: K ≥ 2.
        feature_dim: d ≥ K − 1; below that no such frame exists.

    Returns:
        V [K, d], float64 on the CPU.

    Raises:
        TypeError: If a size is no integer.
        ValueError: If a size is out of its range.

    >>> V = ulpm.simplex_etf(3, feature_dim=2)
    >>> torch.round(V @ V.T, decimals=9) + 0.0
    tensor([[ 1.0000, -0.5000, -0.5000],
            [-0.5000,  1.0000, -0.5000],
            [-0.5000, -0.5000,  1.0000]], dtype=torch.float64)
    """
    K = _checks.integer("num_classes", num_classes, minimum=2)
    d = _checks.integer("feature_dim", feature_dim, minimum=1)
    _require_dimension("a simplex ETF", K, d, K - 1)
    _memory.require(8 * K * (2 * K + 2 * d), "a simplex ETF of this size")
    return math.sqrt(K / (K - 1)) * _padded(_centred_basis(K), d)


def collapsed_state(problem: Problem, norm: float = 1.0) -> State:
    """Neural collapse: h_{k,i} = h_k ∝ w_k = the k-th vector of a simplex ETF, with ‖W‖ = ‖H‖ = ρ/√2.

    The global optimum of the margin problem for balanced counts (Ji, Lu, Zhang, Deng, Su, 2022).

    Args:
        problem: Of equal class counts, with d ≥ K − 1. For unequal counts the optimum is ``seli_state``.
        norm: ρ = √(‖W‖² + ‖H‖²) > 0.

    Raises:
        TypeError: If the norm is no number.
        ValueError: For unequal counts, d < K − 1, or a norm that is not positive.

    >>> problem = ulpm.Problem([5] * 4, feature_dim=3)
    >>> state = ulpm.collapsed_state(problem, norm=2.0)
    >>> max(ulpm.neural_collapse(state.W, state.H, problem.labels).values()) < 1e-14
    tensor(True)
    """
    if not checked(problem).balanced:
        raise ValueError(
            f"a collapsed state needs the same number of samples in each class, but the counts are "
            f"{_brief(problem.class_counts)}: use seli_state, the optimum for unequal counts."
        )
    etf = simplex_etf(problem.num_classes, problem.feature_dim)
    return _scaled(problem, etf, etf / math.sqrt(problem.class_counts[0]), norm)


def seli_state(problem: Problem, norm: float = 1.0) -> State:
    """Simplex-encoded labels: logits Z ∝ I − 11ᵀ/K spread over the samples of each class, in balanced factors.

        Z̄ diag(√n_k) = U Σ Vᵀ,   W = U Σ^{1/2},   h_{k,i} = column k of Σ^{1/2} Vᵀ diag(1/√n_k)

    The global optimum of the margin problem for any class counts (Thrampoulidis, Kini, Vakilian, Behnia, 2022); for
    balanced counts it is neural collapse, up to a rotation.

    Args:
        problem: Of any class counts, with d ≥ K − 1.
        norm: ρ = √(‖W‖² + ‖H‖²) > 0.

    Raises:
        TypeError: If the norm is no number.
        ValueError: For d < K − 1 or a norm that is not positive.

    >>> problem = ulpm.Problem([40, 40, 4, 4], feature_dim=3)
    >>> certificate = ulpm.certify(problem, ulpm.seli_state(problem))
    >>> round(float(certificate.upper_bound), 6), round(problem.minimum_norm_value, 6)
    (13.014971, 13.014971)
    """
    K, d = checked(problem).num_classes, problem.feature_dim
    _require_dimension("a simplex-encoded (SELI) state", K, d, K - 1)
    basis = _centred_basis(K)
    root_counts = torch.tensor(problem.class_counts, dtype=torch.float64, device="cpu").sqrt()
    # I − 11ᵀ/K = B Bᵀ, and B on the left keeps Σ_k w_k = 0 to rounding where the singular values differ by much.
    U, S, Vh = torch.linalg.svd(basis.T * root_counts, full_matrices=False)
    class_features = (Vh / root_counts).T * S.sqrt()
    return _scaled(problem, _padded(basis @ U * S.sqrt(), d), _padded(class_features, d), norm)


def block_state(problem: Problem, block_size: int = 2, norm: float = 1.0) -> State:
    """K = m·b classes in m ≥ 2 orthogonal blocks, each a simplex ETF of b ≥ 2: w_k ∝ h_k ∝ row k of A,

        A = blockdiag(I_b − 11ᵀ/b, …, I_b − 11ᵀ/b),   w_k ∝ n_k^{1/4},   h_{k,i} ∝ n_k^{−1/4}

    A KKT point of the margin problem with value Σ_k √n_k (K√n when balanced) whatever b, hence not optimal: its active
    margins are those between blocks, and their multipliers are λ_{ij} = 1/((K − b)√n_{y_i}). Block β holds the
    classes β·b … β·b + b − 1. Counts may differ between blocks; within one they must not, as the multipliers would not
    balance there. (That there are such points: Ji, Lu, Zhang, Deng, Su, 2022, Example 3.1.)

    Args:
        problem: With d ≥ K − K/b and equal counts within each block.
        block_size: b ≥ 2, which splits K into at least two blocks.
        norm: ρ = √(‖W‖² + ‖H‖²) > 0.

    Raises:
        TypeError: If the block size is no integer or the norm no number.
        ValueError: If one of these conditions fails.

    >>> problem = ulpm.Problem([5] * 4, feature_dim=3)
    >>> certificate = ulpm.certify(problem, ulpm.block_state(problem, block_size=2))
    >>> round(float(certificate.upper_bound), 6), round(4 * 5**0.5, 6)  # K√n
    (8.944272, 8.944272)
    """
    K, d, counts = checked(problem).num_classes, problem.feature_dim, problem.class_counts
    b = _checks.integer("block_size", block_size, minimum=2)
    if K % b or b == K:
        raise ValueError(f"block_size must split the {K} classes into at least 2 equal blocks, but {b} was given.")
    _require_dimension(f"a state of {K // b} blocks of {b}", K, d, K - K // b)
    for start in range(0, K, b):
        block = counts[start : start + b]
        if len(set(block)) > 1:
            raise ValueError(
                f"a block state needs the same number of samples in each class of a block, but classes {start} … "
                f"{start + b - 1} have {_brief(block)}: make them equal, or use seli_state."
            )
    identity = torch.eye(K // b, dtype=torch.float64, device="cpu")
    rows = _padded(torch.kron(identity, _centred_basis(b)), d)
    fourth_roots = torch.tensor(counts, dtype=torch.float64, device="cpu").pow(0.25)[:, None]
    return _scaled(problem, rows * fourth_roots, rows / fourth_roots, norm)


def principal_axes(W: Float[Tensor, "K d"], H: Float[Tensor, "d N"]) -> Float[Tensor, "p d"]:
    """Two (K ≤ 3 or d ≤ 2) or three orthonormal axes that hold most of the rows of W, the last one towards w_0.

    At collapse the principal directions are equally good and hence arbitrary; turned towards w_0 they depend on W
    alone. Where W has fewer directions than asked for, as for K = 2, the features give the others.
    """
    K, d = W.shape
    wanted = 2 if K <= 3 or d <= 2 else 3
    directions = torch.linalg.svd(W - W.mean(0), full_matrices=False).Vh[: min(wanted, K - 1)]
    if len(directions) < min(wanted, d):
        rest = H - directions.T @ (directions @ H)
        others = torch.linalg.svd(rest, full_matrices=False).U.T
        directions = torch.cat([directions, others[: wanted - len(directions)]])
    directions = torch.nn.functional.pad(directions, (0, 0, 0, wanted - len(directions)))  # d = 1 fills no plane
    turn, triangle = torch.linalg.qr((W @ directions.T).T)
    turn = turn * torch.where(triangle.diagonal() < 0, -1.0, 1.0)
    axes: Tensor = (turn.T @ directions).roll(-1, 0)
    return axes


def _centred_basis(K: int) -> Float[Tensor, "K r"]:
    """B with orthonormal columns that are orthogonal to 1, B Bᵀ = I − 11ᵀ/K, r = K − 1 (Helmert's)."""
    j = torch.arange(1, K, dtype=torch.float64, device="cpu")
    basis = torch.ones(K, K - 1, dtype=torch.float64, device="cpu").triu()
    basis.diagonal(-1).copy_(-j)
    return basis / (j * (j + 1)).sqrt()


def _padded(columns: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(columns, (0, width - columns.shape[1]))


def _scaled(
    problem: Problem, classifier: Float[Tensor, "K d"], class_features: Float[Tensor, "K d"], norm: float
) -> State:
    """The state with these rows w_k and h_k (the same for all samples of class k), scaled to the norm ρ."""
    rho = _checks.real("norm", norm, above=0)
    _memory.require(24 * (problem.num_samples + problem.num_classes) * problem.feature_dim, "a state of this size")
    state = State(classifier, class_features[problem.labels].T.contiguous())
    scale = rho / math.sqrt(float(state.squared_norm))
    b = torch.zeros(problem.num_classes, dtype=torch.float64, device="cpu") if problem.bias else None
    return State(state.W * scale, state.H * scale, b)


def _require_dimension(name: str, K: int, d: int, rank: int) -> None:
    if d < rank:
        raise ValueError(f"{name} of {K} classes has rank {rank}, but feature_dim is {d}: use at least {rank}.")


def _brief(counts: tuple[int, ...]) -> str:
    shown = [str(n) for n in counts[:6]]
    return ", ".join(shown + ["…"] * (len(counts) > 6))
