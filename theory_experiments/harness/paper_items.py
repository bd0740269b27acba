"""The numbered items of the paper, and where each is verified: the first table of the page of theorems.

The contents are in our words. They come from the running text of Ji, Lu, Zhang, Deng, Su, "An Unconstrained
Layer-Peeled Perspective on Neural Collapse", 2022. The bodies of its theorems, its tables and its appendix were not
available to us.
"""

import dataclasses

__all__ = ["ITEMS", "Item"]


@dataclasses.dataclass(frozen=True)
class Item:
    """One numbered item of the paper.

    ``files`` are paths from the root of the repository. ``experiment`` names the experiment with the verdict. If it is
    empty, ``results`` is the page of results to read. ``open`` says what we do not know of the item, or do differently.
    """

    number: str
    content: str
    files: tuple[str, ...]
    experiment: str = ""
    results: str = ""
    open: str = ""


def _claim(name: str) -> str:
    """The file that states the claim of an experiment."""
    return f"theory_experiments/theorems/{name}/__init__.py"


_NETWORKS = "real_experiments/results/results.md"
_UNSTATED = "We do not know epochs, learning-rate schedule and augmentation. Ours are listed with the results."

ITEMS = (
    Item(
        "(1.1)",
        "The layer-peeled model of Fang et al.: the mean loss under the bounds ½‖W‖² ≤ C₁ and ½‖H‖² ≤ C₂.",
        ("ulpm/optimality/layer_peeled.py", _claim("minority_collapse")),
        "minority_collapse",
        open="We weight the features of class k by 1/n_k. For equal counts this only changes the unit of C₂.",
    ),
    Item(
        "Definition 2.1",
        "The simplex equiangular tight frame: K unit vectors with cosines −1/(K − 1).",
        ("ulpm/geometry.py", _claim("global_minimisers")),
        "global_minimisers",
    ),
    Item(
        "(2.3)",
        "The unconstrained layer-peeled model: summed cross-entropy of free W and H without bias or penalty, and its "
        "gradient flow.",
        ("ulpm/problem.py", "ulpm/objective.py", _claim("conserved_quantities")),
        "conserved_quantities",
    ),
    Item(
        "Theorem 3.1",
        "Neural collapse has the largest margin of the model.",
        (_claim("global_minimisers"),),
        "global_minimisers",
        open="We do not know the hypotheses. Ours are equal counts and d ≥ K − 1.",
    ),
    Item(
        "Theorem 3.2",
        "The direction of the flow converges to KKT points of the minimum-norm separation problem.",
        (_claim("implicit_bias"),),
        "implicit_bias",
        open="We do not know the hypotheses. Ours is a time with L < log 2, and our claim is about every limit point.",
    ),
    Item(
        "Corollary 3.1",
        "The global optimum of that problem satisfies neural collapse.",
        (_claim("global_minimisers"),),
        "global_minimisers",
        open="We do not know the hypotheses. Ours are equal counts and d ≥ K − 1.",
    ),
    Item(
        "Example 3.1",
        "A KKT point of that problem that is not optimal and has better points close by.",
        (
            _claim("suboptimal_kkt_points"),
            _claim("escape"),
        ),
        "suboptimal_kkt_points",
        open="We do not know its numbers. We use block points of many sizes; escape treats their better neighbours.",
    ),
    Item(
        "Theorem 3.3",
        "Of all directions in which the loss goes to zero, those of neural collapse have the lowest loss.",
        (_claim("lowest_loss"),),
        "lowest_loss",
        open="We do not know the hypotheses. Ours are equal counts and d ≥ K − 1. Our claim is about every norm.",
    ),
    Item(
        "Theorem 3.4",
        "At any other point there is a direction in the tangent space that lowers the loss further.",
        (_claim("benign_landscape"),),
        "benign_landscape",
        open="We do not know whether d > K or d ≥ K. We take d ≥ K and critical points of the loss on a sphere.",
    ),
    Item(
        "Figure 1",
        "ResNet18 on MNIST and on CIFAR-10 without weight decay: all metrics fall along the epochs.",
        ("real_experiments/reproduce.py",),
        results=_NETWORKS,
        open=_UNSTATED,
    ),
    Item(
        "Figure 2",
        "The simulated flow: all metrics fall along log log t, next to a guide of the order of 1/log t.",
        (_claim("simulation"),),
        "simulation",
        open="We do not know K, n, d, the starts and the end time. Ours are on the page of the experiment.",
    ),
    Item(
        "Appendix D",
        "VGG-13 and ResNet18 on MNIST, KMNIST, Fashion-MNIST and CIFAR-10, also without weight decay.",
        ("real_experiments/reproduce.py",),
        results=_NETWORKS,
        open=_UNSTATED,
    ),
)
