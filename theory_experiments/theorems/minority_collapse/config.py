"""The three models and their ratios, and the negative controls."""

import dataclasses

__all__ = ["FULL", "MODELS", "NEGATIVE_CONTROLS", "QUICK", "Config"]

MODELS = {"a": "(a) norms constrained", "b": "(b) weight decay"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Class groups, budgets and prices of the two models, imbalances to solve at, and those for descent."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    majority: int = 5
    minority: int = 5
    minority_count: int = 1
    feature_dim: int = 10
    energies: tuple[float, float] = (1.0, 5.0)
    decays: tuple[float, float] = (1e-3, 1e-3)
    ratios: tuple[int, ...] = (
        *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 20, 30, 50, 70, 100, 130, 160, 180, 190, 195, 198),
        *(200, 203, 210, 230, 300, 500, 1000),
    )
    searched: tuple[int, ...] = (1, 10, 100, 1000)
    threshold_factor: float = 1.0  # multiplies the thresholds; 1 in the theory
    cosine_at_one: str = "K"  # the cosine claimed at R = 1 is −1/(this − 1)
    constrained: bool = True  # else the margin problem replaces model (a)


FULL = Config()
QUICK = Config(starts=2, ratios=(1, 9, 12, 190, 210, 1000), searched=(1, 100))
_ENDS = dataclasses.replace(QUICK, ratios=(1, 1000), searched=(1,))
NEGATIVE_CONTROLS = {
    "twice the threshold is claimed": dataclasses.replace(_ENDS, threshold_factor=2.0, ratios=(1, 210, 1000)),
    "the cosine of K_B classes, not of K, is claimed at R = 1": dataclasses.replace(_ENDS, cosine_at_one="K_B"),
    "the norms are not constrained": dataclasses.replace(_ENDS, constrained=False),
    "d = 4 features, fewer than the optimum's rank": dataclasses.replace(_ENDS, feature_dim=4),
}
