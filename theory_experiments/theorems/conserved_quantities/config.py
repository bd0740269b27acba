"""The runs for the conserved quantities, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Late runs by the solver, and early runs by a plain method that allows weight decay."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    log10_time: float = 1e4
    rtol: float = 1e-6
    records: int = 100
    problems: tuple[tuple[tuple[int, ...], int], ...] = (((5, 5, 5, 5), 20), ((8, 4, 2), 6), ((3, 3, 3, 3, 3), 3))
    descent_steps: int = 2000
    plain_time: float = 20.0
    plain_step: float = 0.01
    plain_order: int = 4
    weight_decay: float = 0.0


FULL = Config()
QUICK = Config(starts=4, log10_time=50.0, problems=FULL.problems[:2], records=30, descent_steps=200, plain_time=2.0)
_FALSE = dataclasses.replace(QUICK, log10_time=5.0)
NEGATIVE_CONTROLS = {
    "weight decay 0.001 is added to the flow": dataclasses.replace(_FALSE, weight_decay=1e-3),
    "the flow is replaced by steps of gradient descent of size 0.05": dataclasses.replace(
        _FALSE, plain_order=1, plain_step=0.05
    ),
}
