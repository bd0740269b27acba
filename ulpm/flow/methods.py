"""Integration methods as data."""

import dataclasses

__all__ = ["DORMAND_PRINCE", "Tableau"]


@dataclasses.dataclass(frozen=True)
class Tableau:
    """An embedded explicit Runge–Kutta pair whose last stage is the next step's first ("first same as last").

    ``stages`` are the rows of A below the first, ``error`` is b − b̂, and ``dense`` holds a polynomial in θ for each
    stage, lowest power first and starting at θ¹, so that y(s + θh) = y + h Σ_i k_i Σ_p dense[i][p] θ^{p+1}.
    """

    name: str
    order: int
    stages: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]
    dense: tuple[tuple[float, ...], ...]

    @property
    def num_stages(self) -> int:
        """The number of stages, the reused one included."""
        return len(self.error)


DORMAND_PRINCE = Tableau(
    # Dormand and Prince, "A family of embedded Runge–Kutta formulae", 1980; the interpolant of order 4 is Shampine's,
    # "Some practical Runge–Kutta formulas", 1986.
    name="Dormand–Prince 5(4)",
    order=5,
    stages=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    dense=(
        (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
        (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
        (0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
        (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
        (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
    ),
)
