"""The angles between the classifiers of rare classes, as a curve over imbalances, with proven error bounds."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm

__all__ = ["Curve", "layer_peeled_curve", "margin_curve", "minority_cosine", "seli_cosine"]


@dataclasses.dataclass(frozen=True)
class Curve:
    """A model's optima at several ratios [R].

    ``cosines``   the least cosine between the classifiers of two rare classes;
    ``errors``    a bound of its error;
    ``savings``   the most that a rare class could save by a unit of norm in a direction of its own, over its price;
    ``gaps``      relative duality gaps;  ``ranks``  ranks of the logits.
    """

    cosines: Float[Tensor, " R"]
    errors: Float[Tensor, " R"]
    savings: Float[Tensor, " R"]
    gaps: Float[Tensor, " R"]
    ranks: Float[Tensor, " R"]


def layer_peeled_curve(optima: Sequence[ulpm.LayerPeeledOptimum], majority: int, shares: Sequence[float]) -> Curve:
    """The curve of a model with a price. ``shares`` are those of a rare class in the gradient, n_B/N or √n_B/N.

    An error of at most η in an entry of W Wᵀ changes a cosine by at most 2η/(g − η), with g the smaller ‖w_k‖² of the
    two.
    Raises: ValueError if an optimum does not fit into its dimension.
    """
    cosines, errors = [], []
    for optimum in optima:
        W = _classifier(optimum)
        cosines.append(float(minority_cosine(W, majority)))
        room = float(W[majority:].square().sum(1).min()) - optimum.gram_error
        errors.append(2 * optimum.gram_error / room if room > 0 else math.inf)
    savings = [share / optimum.multiplier for share, optimum in zip(shares, optima, strict=True)]
    gaps = [abs(optimum.duality_gap) / optimum.value for optimum in optima]
    return _curve(cosines, errors, savings, gaps, [optimum.rank for optimum in optima])


def margin_curve(separations: Sequence[ulpm.Separation], majority: int) -> Curve:
    """The curve of the margin problem, where norm has no price, so that any saving pays."""
    cosines = [float(minority_cosine(_classifier(separation), majority)) for separation in separations]
    gaps = [abs(separation.duality_gap) / separation.value for separation in separations]
    unknown = [math.nan] * len(separations)
    return _curve(cosines, unknown, [math.inf] * len(separations), gaps, [one.rank for one in separations])


def minority_cosine(W: Float[Tensor, "K d"], majority: int) -> Float[Tensor, ""]:
    """The least cosine between two of the rows from ``majority`` on."""
    rows = W[majority:]
    directions = rows / rows.norm(dim=1, keepdim=True)
    least: Tensor = (directions @ directions.T).min()
    return least


def seli_cosine(ratios: Float[Tensor, " R"], majority: int, minority: int) -> Float[Tensor, " R"]:
    """(τ − 1/K_B)/(τ + 1 − 1/K_B), τ = (K_A/(K K_B)) √((K_B R + K_A)/K): the minority cosine of the margin problem.

    W Wᵀ = (Z diag(n) Zᵀ)^{1/2} with Z = I − 11ᵀ/K has the eigenvalue √n_B on differences of rare classes, and
    √((K_B n_A + K_A n_B)/K) on the difference of rare and frequent classes.
    """
    K_A, K_B, K = majority, minority, majority + minority
    shared = K_A / (K * K_B) * ((K_B * ratios + K_A) / K).sqrt()
    cosines: Tensor = (shared - 1 / K_B) / (shared + 1 - 1 / K_B)
    return cosines


def _classifier(solution: ulpm.LayerPeeledOptimum | ulpm.Separation) -> Tensor:
    if solution.state is None:
        raise ValueError(f"the optimum has no classifier in these dimensions: {solution.status}")
    return solution.state.W


def _curve(*columns: Sequence[float]) -> Curve:
    return Curve(*(torch.tensor(column, dtype=torch.float64) for column in columns))
