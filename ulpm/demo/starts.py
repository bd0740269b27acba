"""Where the runs of the page start, what to see in each and why."""

import dataclasses
import math
from collections.abc import Sequence

import torch

from ulpm.geometry import block_state
from ulpm.optimality import sphere_critical_point
from ulpm.problem import Problem, from_features
from ulpm.sample import fashion_mnist_sample
from ulpm.state import State

__all__ = ["LECTURE", "Start", "own_start"]

_CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
_IMAGES_OF_A_CLASS = 20
_SADDLE_NORM, _SADDLE_DISTANCE = 4.0, 0.05
_SOLVED_VALUES = (12.0, 3.0, 0.5)


@dataclasses.dataclass(frozen=True)
class Start:
    """A state to flow from. ``origin`` says how it was made, ``class_names`` are 0, 1, … if not given.

    ``rtol`` is the tolerance of its run, ``saddle`` a state near which it starts, and ``pictured`` says whether the
    features are images at the start.
    """

    key: str
    title: str
    caption: str
    problem: Problem
    state: State
    origin: str = "random start, seed 0"
    class_names: Sequence[str] | None = None
    rtol: float = 1e-6
    saddle: State | None = None
    pictured: bool = False


def tetrahedron() -> Start:
    """The case that can be seen as it is: K = 4 in three dimensions."""
    problem = Problem([12] * 4, 3)
    caption = (
        "The features of each class merge into one point, the four points form a regular tetrahedron, and each arrow "
        "of the classifier ends on its class: no other shape has a larger margin."
    )
    return Start("four", "4 classes", caption, problem, problem.random_state(0))


def triangle() -> Start:
    """The case that fits a blackboard: K = 3 in the plane."""
    problem = Problem([12] * 3, 2)
    caption = (
        "Three classes in the plane: the same collapse ends in an equilateral triangle, 120° between any two classes, "
        "which keeps the worst pair as far apart as possible."
    )
    return Start("three", "3 classes", caption, problem, problem.random_state(0))


def ten_classes() -> Start:
    """A case that has to be projected."""
    problem = Problem([50] * 10, 64)
    caption = (
        "Ten classes in 64 dimensions, seen along three of the nine directions in which the classifier ends: "
        "a simplex looks irregular in projection, but the curves show that it is regular."
    )
    return Start("ten", "10 classes", caption, problem, problem.random_state(0))


def imbalanced() -> Start:
    """Unequal counts, whose optimum are simplex-encoded labels instead of a simplex."""
    problem = Problem([40, 40, 4, 4], 3)
    caption = (
        "Classes 0 and 1 have ten times the samples of 2 and 3: each class still collapses, but the shape of largest "
        "margin (dashed) is no longer regular, and the arrows miss the class means."
    )
    names = [f"{k} ({count} samples)" for k, count in enumerate(problem.class_counts)]
    return Start("imbalanced", "Imbalanced", caption, problem, problem.random_state(0), class_names=names)


def saddle() -> Start:
    """A block state, pushed along the direction of most negative curvature, which proves it to be a saddle."""
    problem = Problem([12] * 4, 3)
    at = block_state(problem, block_size=2, norm=_SADDLE_NORM)
    down = sphere_critical_point(problem, at).direction
    push = _SADDLE_DISTANCE * _SADDLE_NORM
    state = State(at.W + push * down.W, at.H + push * down.H)
    caption = (
        "A flat square is a critical point, too, but a saddle: the start is 5% beside it. While the scene seems still, "
        "the distance from the square grows (second panel), until the flow leaves."
    )
    origin = f"start {_SADDLE_DISTANCE:g} ρ from a block state (ρ = {_SADDLE_NORM:g}) along its direction of descent"
    return Start("saddle", "Saddle", caption, problem, state, origin, saddle=at)


def narrow() -> Start:
    """Fewer dimensions than a simplex needs."""
    problem = Problem([12] * 6, 3)
    caption = (
        "Six classes would need five dimensions for a simplex and have three: this start ends in an octahedron, "
        "and the proven bounds of the optimum stay apart."
    )
    return Start("narrow", "d < K − 1", caption, problem, problem.random_state(0))


def solved() -> Start:
    """A Hadamard start of K = 4: W = Φ diag(a), H = diag(b) Φᵀ with a = √n b and the characters ±1/2 in Φ.

    Source: Garrod, Keating, Thrampoulidis, "Diagonalizing the Softmax: Hadamard Initialization for Tractable
    Cross-Entropy Dynamics", 2025.
    """
    problem = Problem([12] * 4, 3)
    root = math.sqrt(problem.class_counts[0])
    corners = torch.tensor([[1, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]], dtype=torch.float64, device="cpu") / 2
    W = corners * (root * torch.tensor(_SOLVED_VALUES, dtype=torch.float64, device="cpu")).sqrt()
    caption = (
        "A flow solved exactly: the classes are corners of a box that never turns. Only its edges change, and the flow "
        "makes them equal. Every other corner of a cube gives a tetrahedron."
    )
    values = ", ".join(f"{value:g}" for value in _SOLVED_VALUES)
    origin = f"Hadamard start with singular values {values} and no variation within classes"
    state = State(W, (W / root).T[:, problem.labels].contiguous())
    # Self-duality holds from the start: a finer tolerance keeps rounding errors out of its curve.
    return Start("solved", "Solved", caption, problem, state, origin, rtol=1e-10)


def images() -> Start:
    """Images in an orthonormal basis of the span of the start, which the flow never leaves: nothing is lost."""
    pixels, labels = fashion_mnist_sample()
    kept = torch.arange(len(pixels), device="cpu") % (len(pixels) // len(_CLOTHES)) < _IMAGES_OF_A_CLASS
    pixels, labels = pixels[kept], labels[kept]
    pixels = pixels / pixels.square().sum(1).mean().sqrt()
    _, state = from_features(pixels, labels, seed=0)
    basis = torch.linalg.qr(torch.cat([state.H, state.W.T], 1)).Q
    problem, state = from_features(pixels @ basis, labels, classifier=state.W @ basis)
    caption = (
        f"{len(pixels)} pictures of clothes are the features at the start, pixel by pixel, with no network between: "
        "left free, they collapse just as random ones do."
    )
    origin = "784 pixels of real images in a basis of the span that the flow never leaves, random classifier, seed 0"
    return Start("images", "Images", caption, problem, state, origin, _CLOTHES, pictured=True)


LECTURE = (tetrahedron, triangle, ten_classes, imbalanced, saddle, narrow, solved, images)


def own_start(problem: Problem, seed: int) -> Start:
    """A random start of sizes that you choose. Raises: TypeError or ValueError for a seed that makes no sense."""
    K, d = problem.num_classes, problem.feature_dim
    if d < K - 1:
        caption = (
            f"{K} classes do not fit into {d} dimensions as a simplex: where the flow ends depends on the start, "
            "and the proven bounds of the optimum stay apart."
        )
    elif problem.balanced:
        caption = (
            f"The features of each class merge, the {K} class means spread to a regular simplex, and each arrow of the "
            "classifier points at its class: no other shape has a larger margin."
        )
    else:
        caption = (
            "The features of each class still merge, but with unequal counts the shape of largest margin (dashed) is "
            "no regular simplex, and the arrows miss the class means."
        )
    return Start("own", "Your setting", caption, problem, problem.random_state(seed), f"random start, seed {seed}")
