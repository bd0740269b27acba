"""What the paper numbers, and where each item is verified: the first table of the page of theorems.

The contents are in our words. They come from the running text of Ji, Lu, Zhang, Deng, Su, "An Unconstrained
Layer-Peeled Perspective on Neural Collapse", 2022. The bodies of its theorems, its tables and its appendix were not
available to us.
"""

import dataclasses

__all__ = ["ITEMS", "Item"]


@dataclasses.dataclass(frozen=True)
class Item:
    """One numbered item of the paper.

    ``files`` are paths from the root of the repository. ``experiment`` names the experiment that gives figure and
    verdict; if it is empty, ``results`` is the page of results to read. ``open`` says what is not known of the item or
    is different here.
    """

    number: str
    content: str
    files: tuple[str, ...]
    experiment: str = ""
    results: str = ""
    open: str = "–"


def _claim(name: str) -> str:
    """The file that states the claim of an experiment."""
    return f"theory_experiments/theorems/{name}/__init__.py"


_NETWORKS = "real_experiments/results/results.md"
_UNSTATED = "epochs, schedule of the learning rate and augmentation; ours are listed with the results"

ITEMS = (
    Item(
        "(1.1)",
        "The layer-peeled model of Fang et al.: the mean loss under the bounds ½‖W‖² ≤ C₁ and ½‖H‖² ≤ C₂.",
        ("ulpm/optimality/layer_peeled.py", _claim("minority_collapse")),
        "minority_collapse",
        open="we weight the features of class k by 1/n_k, which for equal counts only changes the unit of C₂",
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
        open="hypotheses; ours are equal counts and d ≥ K − 1",
    ),
    Item(
        "Theorem 3.2",
        "The direction of the flow converges to KKT points of the minimum-norm separation problem.",
        (_claim("implicit_bias"),),
        "implicit_bias",
        open="hypotheses, such as a time with L < log 2; ours is such a time, and the claim is about every limit point",
    ),
    Item(
        "Corollary 3.1",
        "The global optimum of that problem satisfies neural collapse.",
        (_claim("global_minimisers"),),
        "global_minimisers",
        open="hypotheses; ours are equal counts and d ≥ K − 1",
    ),
    Item(
        "Example 3.1",
        "A KKT point of that problem that is not optimal and has better points close by.",
        (
            _claim("suboptimal_kkt_points"),
            _claim("escape"),
        ),
        "suboptimal_kkt_points",
        open="its numbers; ours are block points of many sizes, whose better neighbours are the subject of escape",
    ),
    Item(
        "Theorem 3.3",
        "Of all directions in which the loss goes to zero, those of neural collapse have the lowest loss.",
        (_claim("lowest_loss"),),
        "lowest_loss",
        open="hypotheses, and whether it is about the limit only; ours are equal counts, d ≥ K − 1 and every norm",
    ),
    Item(
        "Theorem 3.4",
        "At any other point there is a direction in the tangent space that lowers the loss further.",
        (_claim("benign_landscape"),),
        "benign_landscape",
        open="hypotheses, d > K or d ≥ K; ours are d ≥ K and critical points of the loss on a sphere",
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
        "The simulated flow: all metrics fall along log log t, beside a guide of the order of 1/log t.",
        (_claim("simulation"),),
        "simulation",
        open="K, n, d, the starts and the end of the simulation; ours are in the report",
    ),
    Item(
        "Appendix D",
        "VGG-13 and ResNet18 on MNIST, KMNIST, Fashion-MNIST and CIFAR-10, also without weight decay.",
        ("real_experiments/reproduce.py",),
        results=_NETWORKS,
        open=_UNSTATED,
    ),
)
