"""How a flow is integrated: two methods, their step-size controllers, and the rule by which replicas change over."""

import dataclasses

import torch

from ulpm import _checks
from ulpm.flow.handover import HandOver
from ulpm.flow.methods import RODAS4, TSITOURAS, RosenbrockTableau, Tableau

__all__ = ["Solver"]


@dataclasses.dataclass(frozen=True)
class Solver:
    """The numerical methods of a flow, as values.

    Args:
        explicit: The explicit Runge–Kutta pair that begins.
        stiff: The Rosenbrock method to which a replica is handed over where stability limits the explicit steps.
        hand_over: The rule by which this happens.
        explicit_gains: Integral and proportional gain of the step-size controller of ``explicit``.
        stiff_gains: The same of ``stiff``.
        krylov_share: A linear solve may err by this share of what a step may, between 0 and 1.
        product_dtype: With torch.float32 most products of the linear solves are in that precision, for a GPU that is
            slow in float64, and products in the precision of the state correct the solution. Σ_k w_k is then conserved
            to what a solve may err by, not to the last bit.

    Raises:
        TypeError: If something is no method or number of this kind.
        ValueError: If a number is out of its range.

    >>> problem = ulpm.Problem([5] * 3, feature_dim=4)
    >>> solver = ulpm.Solver(krylov_share=1e-4)
    >>> path = ulpm.gradient_flow(problem, problem.random_state(), log10_time=100, records=2, solver=solver)
    >>> path.finished
    True
    """

    explicit: Tableau = TSITOURAS
    stiff: RosenbrockTableau = RODAS4
    hand_over: HandOver = dataclasses.field(default_factory=HandOver)
    explicit_gains: tuple[float, float] = (0.3, 0.4)
    stiff_gains: tuple[float, float] = (1.0, 0.0)
    # nc1_pinv at log t = 2e6 is 1e-20, a relative deviation of 1e-10, and is right to 0.1% with it, to 4% with 1e-3; a
    # decade costs about an iteration a stage.
    krylov_share: float = 1e-5
    product_dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        kinds = {"explicit": Tableau, "stiff": RosenbrockTableau, "hand_over": HandOver}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"{name} must be a {kind.__name__}, but {_checks.shown(getattr(self, name))} was given."
                )
        for name in ("explicit_gains", "stiff_gains"):
            gains = getattr(self, name)
            if not isinstance(gains, tuple) or len(gains) != 2:
                raise TypeError(f"{name} must be a pair of numbers, but {_checks.shown(gains)} was given.")
            for i, gain in enumerate(gains):
                _checks.real(f"{name}[{i}]", gain, minimum=0)
        _checks.real("krylov_share", self.krylov_share, above=0, below=1)
        if self.product_dtype not in (None, torch.float32):
            raise ValueError(
                f"product_dtype must be torch.float32 or None, but {_checks.shown(self.product_dtype)} was given."
            )
