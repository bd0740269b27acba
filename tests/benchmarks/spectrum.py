"""The stiff spectrum of the Jacobian late in a run, from dense matrices: why many classes need more iterations."""

import dataclasses
from collections.abc import Callable

import torch
from report import Tell, table
from torch import Tensor

import ulpm
from ulpm.flow.system import FlowSystem

SIZES = ((4, 5, 8), (10, 4, 16), (20, 2, 24), (30, 1, 32))
QUICK_SIZES = ((3, 2, 3),)
LOG_TIME, QUICK_LOG_TIME = 1e4, 1e3
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_COLUMNS_AT_ONCE = 64
# In units of γ: what grows with the state has 1 at most, and σ = 40γ is that of a step of a tenth of 1/γ.
_STIFF = 3.0
_SHIFT = 40.0
_RTOL = 1e-5


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of −J in units of γ = ‖∇ log L‖/ρ at the end of a run, and the iterations of a solve there.

    ``iterations`` are by what the system is preconditioned with.
    """

    sizes: tuple[int, int, int]
    eigenvalues: Tensor
    iterations: dict[str, int]
    angle: float

    def row(self) -> tuple[str, ...]:
        """A line of the table."""
        stiff = self.eigenvalues[self.eigenvalues > _STIFF]
        quantiles = torch.quantile(stiff, torch.tensor(QUANTILES, dtype=stiff.dtype))
        K, n, d = self.sizes
        return (
            f"K={K} n={n} d={d}",
            f"{len(stiff)} of {len(self.eigenvalues)}",
            *(f"{value:.3g}" for value in quantiles.tolist()),
            *map(str, self.iterations.values()),
            f"{self.angle:.1e}",
        )


def spectrum(sizes: tuple[int, int, int], log_time: float) -> Spectrum:
    """Follow the flow from its first random start, and look at the Jacobian there."""
    K, n, d = sizes
    problem = ulpm.Problem([n] * K, d)
    path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=log_time, rtol=_RTOL, records=2)
    system = FlowSystem(problem, torch.device("cpu"))
    y = system.layout.pack(path.final_state)
    rate = torch.empty_like(y)
    system.rate(y, rate)
    growth = float(rate.norm() / y.norm())
    jacobian = torch.cat([image(system, y, columns) for columns in torch.eye(y.shape[1]).split(_COLUMNS_AT_ONCE)])
    jacobian = (jacobian + jacobian.mT) / 2
    matrix = _SHIFT * growth * torch.eye(len(jacobian), dtype=jacobian.dtype) - jacobian
    # To the accuracy that a run at the default tolerance asks for.
    tolerance = 1e-11 * _SHIFT * growth * float(y.norm())
    iterations = {
        name: preconditioned_iterations(matrix, rate[0], inverse, tolerance)
        for name, inverse in preconditioners(matrix, problem).items()
    }
    eigenvalues = torch.linalg.eigvalsh(-jacobian) / growth
    return Spectrum(sizes, eigenvalues, iterations, float(path.metrics["nc2_angle_classifier"][-1]))


def image(system: FlowSystem, y: Tensor, columns: Tensor) -> Tensor:
    """J times each of ``columns`` [B, D] at y [1, D]."""
    out = torch.empty(columns.shape, dtype=y.dtype)
    system.linearise(y.repeat(len(columns), 1)).product(columns.to(y.dtype), out)
    return out


def preconditioners(matrix: Tensor, problem: ulpm.Problem) -> dict[str, Callable[[Tensor], Tensor]]:
    """What r [D] is multiplied with: nothing, or the inverse of a part of ``matrix``."""
    split, d, N = problem.num_classes * problem.feature_dim, problem.feature_dim, problem.num_samples
    diagonal = matrix.diagonal()
    of_classifier = torch.linalg.cholesky(matrix[:split, :split])
    by_sample = matrix[split:, split:].view(d, N, d, N).diagonal(dim1=1, dim2=3).movedim(-1, 0)
    of_samples = torch.linalg.cholesky(by_sample)

    def blocks(r: Tensor) -> Tensor:
        W = torch.cholesky_solve(r[:split, None], of_classifier)[:, 0]
        H = torch.cholesky_solve(r[split:].view(d, N).mT[..., None], of_samples)[..., 0].mT
        return torch.cat([W, H.flatten()])

    return {"nothing": lambda r: r, "its diagonal": lambda r: r / diagonal, "blocks": blocks}


def preconditioned_iterations(
    matrix: Tensor, rhs: Tensor, inverse: Callable[[Tensor], Tensor], tolerance: float
) -> int:
    """Iterations of preconditioned conjugate gradients from 0 to a residual of ``tolerance``.

    Raises: RuntimeError if it takes more than ten times as many as there are unknowns.
    """
    residual, iterations = rhs.clone(), 0
    direction = inverse(residual)
    product = residual @ direction
    while not float(residual.norm()) <= tolerance:
        if iterations > 10 * len(rhs):
            raise RuntimeError("conjugate gradients do not converge")
        image = matrix @ direction
        residual -= product / (direction @ image) * image
        step = inverse(residual)
        before, product = product, residual @ step
        direction = step + product / before * direction
        iterations += 1
    return iterations


def spectra_text(quick: bool, tell: Tell) -> str:
    """The table, and what to read from it."""
    log_time = QUICK_LOG_TIME if quick else LOG_TIME
    found = []
    for sizes in QUICK_SIZES if quick else SIZES:
        tell(f"the spectrum of K={sizes[0]} n={sizes[1]} d={sizes[2]}")
        found.append(spectrum(sizes, log_time))
    solves = [f"iterations with {name}" for name in found[0].iterations]
    header = ("problem", "stiff", *(f"{share:.0%}" for share in QUANTILES), *solves, "`nc2_angle_classifier`")
    table_text = table(header, [one.row() for one in found])
    return TEXT.format(log_time=log_time, rtol=_RTOL, stiff=_STIFF, shift=_SHIFT) + table_text + "\n\n" + READING


TEXT = """The spectrum of the Jacobian explains the iterations. The table gives eigenvalues of −J in units of γ = ‖∇ log
L‖/ρ. They are from dense matrices of smaller problems at log t = {log_time:g}, in runs at rtol {rtol:.0e}. An
eigenvalue above {stiff:g} is stiff. The table gives the number of stiff eigenvalues and their quantiles. It also gives
the number of iterations that solve (σI − J) x = −∇ log L with σ = {shift:g}γ from x = 0, to the accuracy of a run at
rtol 1e-6. The preconditioners are none, the diagonal of the matrix, and its blocks (one for W and one for each sample).
This σ belongs to a step in which ρ grows by a tenth. Runs with many classes take shorter steps and need fewer
iterations.

"""

READING = """With few classes the stiff eigenvalues form a few tight groups. Conjugate gradients need one or two
iterations for each. Problems with many classes are further from collapse. Most of their stiff eigenvalues fill a good
part of a decade without gaps. Others are ten times larger, and some are far smaller. A preconditioner might help, but
neither of these does. The diagonal breaks up the groups. The blocks separate W and H, while stiff directions change
both."""
