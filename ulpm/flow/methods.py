"""Integration methods as data."""

import dataclasses

__all__ = ["RODAS4", "TSITOURAS", "RosenbrockTableau", "Tableau"]


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


TSITOURAS = Tableau(
    # Ch. Tsitouras, "Runge–Kutta pairs of order 5(4) satisfying only the first column simplifying assumption", 2011,
    # with its interpolant of order 4. Its nodes are 0, 0.161, 0.327, 0.9, 0.9800255409045097, 1 and 1. It takes fewer
    # steps of this flow for the same error than the pair of Dormand and Prince, 1980, and is stable to hλ = 3.5.
    name="Tsitouras 5(4)",
    order=5,
    stages=(
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774),
    ),
    error=(
        0.00178001105222577714,
        0.0008164344596567469,
        -0.007880878010261995,
        0.1447110071732629,
        -0.5823571654525552,
        0.45808210592918697,
        -1 / 66,
    ),
    dense=(
        (1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
        (0.0, 0.1317, -0.2234, 0.1017),
        (0.0, 3.9302962368947516, -5.941033872131505, 2.490627285651253),
        (0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902),
        (0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
        (0.0, -27.896526289197286, 65.09189467479366, -34.87065786149661),
        (0.0, 1.5, -4.0, 2.5),
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
