"""Neural regression collapse: features of a regression that keep to as many dimensions as there are targets."""

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks
from ulpm.metrics.frame import norm_of
from ulpm.metrics.tiles import column_squares

__all__ = ["regression_collapse"]

# What a few roundings of numbers of size one come to.
_ROUNDING = 16 * torch.finfo(torch.float64).eps


def regression_collapse(
    W: Float[Tensor, "n d"], H: Float[Tensor, "d N"], Y: Float[Tensor, "n N"]
) -> dict[str, Float[Tensor, ""]]:
    """NRC1–3 of a linear layer W, its features H and the n targets Y of a regression.

    With h̄ the mean of the features, h̃_i = (h_i − h̄)/‖h_i − h̄‖, P the projection onto the first n principal
    components of the features (about h̄), P_W that onto the span of the rows of W, and Σ = N⁻¹ Σ_i (y_i − ȳ)(y_i − ȳ)ᵀ:

        nrc1        mean over i of ‖h̃_i − P h̃_i‖²
        nrc2        mean over i of ‖h̃_i − P_W h̃_i‖²
        nrc3        min over γ in [0, λ_min(Σ)] of ‖WWᵀ/‖WWᵀ‖ − (Σ^½ − γ^½ I)/‖Σ^½ − γ^½ I‖‖²
        nrc3_gamma  the γ that attains it

    The minimum over γ is in closed form. Samples with h_i = h̄ have no direction and are left out. nrc1 and nrc2 are at
    most 1, nrc3 at most 2. For one target nrc3 is 0 whatever W is.

    Args:
        W: The weight of the layer [n, d], float32 or float64.
        H: The features [d, N], columns are samples.
        Y: The targets [n, N], columns are samples.

    Returns:
        A mapping from these keys to float64 scalars. nrc3_gamma has the unit of a squared target, the others have none.
        A zero W, equal features or equal targets give NaN.

    Raises:
        TypeError: For anything but floating tensors.
        ValueError: For shapes that do not fit or entries that are not finite.

    Source: Andriopoulos, Dong, Guo, Zhao & Ross, 2024, The prevalence of neural collapse in neural multivariate
    regression.

    >>> W = torch.eye(2, 4)
    >>> Y = torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
    >>> found = ulpm.regression_collapse(W, W.T @ Y, Y)
    >>> all(float(found[key]) < 1e-15 for key in ("nrc1", "nrc2", "nrc3"))
    True
    """
    size = _checks.shape("Y", _checks.floating("Y", Y), None, None).detach().abs().amax().double()
    W, H, Y = (_matrix(name, value) for name, value in (("W", W), ("H", H), ("Y", Y)))
    if W.shape[1] != len(H) or W.shape[0] != len(Y) or H.shape[1] != Y.shape[1]:
        raise ValueError(
            "W, H and Y must have shapes [n, d], [d, N] and [n, N], "
            f"but theirs are {list(W.shape)}, {list(H.shape)} and {list(Y.shape)}."
        )
    n, centred = len(W), _centred(H)
    principal = torch.linalg.svd(centred, full_matrices=False).U[:, :n]
    squares = column_squares(centred)
    # A sample at the mean is off it by rounding, which would be a direction like any other.
    kept = squares > _ROUNDING**2 * squares.amax()
    directions = centred[:, kept] / squares[kept].sqrt()
    nrc3, root = _structure(W @ W.mT, _centred(Y))
    return {
        "nrc1": _outside(principal, directions),
        "nrc2": _outside(_row_space(W), directions),
        "nrc3": nrc3,
        "nrc3_gamma": (root * size).square(),
    }


def _matrix(name: str, value: Tensor) -> Float[Tensor, "m n"]:
    _checks.shape(name, _checks.floating(name, value), None, None)
    if value.ndim != 2:
        raise ValueError(f"{name} must be a matrix, but its shape is {list(value.shape)}.")
    value = value.detach().double()
    # The scale of none of them is seen, and squares of this one neither over- nor underflow.
    largest = value.abs().amax()
    return value / largest if bool(largest > 0) else value


def _centred(columns: Tensor) -> Tensor:
    about_first = columns - columns[:, :1]
    return about_first - about_first.mean(1, keepdim=True)


def _row_space(W: Tensor) -> Tensor:
    """An orthonormal basis of the span of the rows, as columns."""
    _, S, V = torch.linalg.svd(W, full_matrices=False)
    rows: Tensor = V[torch.finfo(W.dtype).eps * max(W.shape) * S[0] < S]
    return rows.mT


def _outside(basis: Tensor, directions: Tensor) -> Tensor:
    if basis.shape[1] == 0 or directions.shape[1] == 0:
        return directions.new_full((), torch.nan)
    return column_squares(directions - basis @ (basis.mT @ directions)).mean()


def _structure(gram: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """nrc3 and √γ. With s = √γ the cosine of A = WWᵀ/‖WWᵀ‖ and Σ^½ − sI is stationary where its derivative vanishes,

    s = (t p − a q)/(t q − a n) with a = ⟨A, Σ^½⟩, t = tr A, p = tr Σ, q = tr Σ^½.
    """
    U, S, _ = torch.linalg.svd(targets / targets.shape[1] ** 0.5, full_matrices=False)
    n = len(targets)
    roots = torch.cat([S, S.new_zeros(n - len(S))])
    root = (U * S) @ U.mT
    A = gram / norm_of(gram)
    a, t, p, q = (A * root).sum(), A.trace(), roots.square().sum(), roots.sum()
    least = roots.amin()
    stationary = ((t * p - a * q) / (t * q - a * n)).nan_to_num(0.0).clamp(min=torch.zeros_like(least), max=least)
    candidates = torch.stack([torch.zeros_like(least), stationary, least])
    # Where Σ is a multiple of the identity, γ = λ_min leaves its rounding, which is no structure.
    gaps = roots - candidates[:, None]
    gaps = torch.where(gaps > _ROUNDING * n * roots.amax(), gaps, 0.0)
    # Where U is not n × n, for fewer samples than targets, λ_min is 0.
    targets_of = (U * gaps[:, None, : len(S)]) @ U.mT
    values = (A - targets_of / norm_of(targets_of)[:, None, None]).square().sum((1, 2))
    best = torch.where(values.isnan(), torch.inf, values).argmin()
    return values[best], torch.where(values[best].isnan(), torch.nan, candidates[best])
