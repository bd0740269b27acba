"""Integration methods as data."""

import dataclasses

__all__ = ["DORMAND_PRINCE", "RODAS4", "RosenbrockTableau", "Tableau"]


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


@dataclasses.dataclass(frozen=True)
class RosenbrockTableau:
    """A Rosenbrock method in the form that needs no product with the Jacobian J outside the linear solves.

    With σ = 1/(hγ), stage i solves (σI − J) U_i = f(y + Σ_j a_ij U_j) + Σ_j (c_ij/h) U_j; ``a`` and ``c`` hold the rows
    below the first. The last stage added to its own argument is the step's end, and the last stage is its error
    estimate. ``dense`` has two rows d_1, d_2 with y(s + θh) = (1−θ)y + θ[y_end + (1−θ)(Σ d_1j U_j + θ Σ d_2j U_j)].
    """

    name: str
    order: int
    gamma: float
    a: tuple[tuple[float, ...], ...]
    c: tuple[tuple[float, ...], ...]
    dense: tuple[tuple[float, ...], tuple[float, ...]]


RODAS4 = RosenbrockTableau(
    # L-stable and stiffly accurate, six stages, order 4 with an embedded estimate of order 3: Hairer and Wanner,
    # "Solving Ordinary Differential Equations II", 1996, section IV.7 (code RODAS), as are the coefficients of order 3
    # for its interpolant.
    name="RODAS 4(3)",
    order=4,
    gamma=0.25,
    a=(
        (1.544,),
        (0.9466785280815826, 0.2557011698983284),
        (3.314825187068521, 2.896124015972201, 0.9986419139977817),
        (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950),
        (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1.0),
    ),
    c=(
        (-5.6688,),
        (-2.430093356833875, -0.2063599157091915),
        (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
        (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
        (8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054),
    ),
    dense=(
        (10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823, 1.025137723295662, 0.0),
        (-0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386, -6.594389125716872, 0.0),
    ),
)
