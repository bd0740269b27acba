"""The same flow for general-purpose solvers: dΘ/dt = −∇L(Θ) in flow time t, as a user of them would write it well."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torchdiffeq import odeint

import ulpm


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Where a method ended, and the right-hand sides that it asked for."""

    state: ulpm.State
    evaluations: int


class NumpyField:
    """dy/dt for y = (W, H) flat, in numpy: P from gaps and R_{y_i,i} as the sum of the others, as ulpm has it."""

    def __init__(self, problem: ulpm.Problem) -> None:
        self._shapes = (problem.num_classes, problem.feature_dim), (problem.feature_dim, problem.num_samples)
        self._split = problem.num_classes * problem.feature_dim
        self._label_entries = (problem.labels.numpy(), np.arange(problem.num_samples))
        self._logits = np.empty((problem.num_classes, problem.num_samples))
        self._label_row = np.empty((1, problem.num_samples))

    def pack(self, state: ulpm.State) -> np.ndarray:
        """y."""
        return np.concatenate([state.W.numpy().ravel(), state.H.numpy().ravel()])

    def unpack(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Views W and H."""
        return y[: self._split].reshape(self._shapes[0]), y[self._split :].reshape(self._shapes[1])

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        """dy/dt. The solvers keep what is returned, so that only the logits have a buffer of their own."""
        W, H = self.unpack(y)
        Z = np.matmul(W, H, out=self._logits)
        Z -= Z.max(axis=0)
        R = np.exp(Z, out=Z)
        R /= -R.sum(axis=0)
        R[self._label_entries] = 0.0
        R[self._label_entries] = -R.sum(axis=0, out=self._label_row[0])
        rate = np.empty_like(y)
        W_rate, H_rate = self.unpack(rate)
        np.matmul(R, H.T, out=W_rate)
        np.matmul(W.T, R, out=H_rate)
        return rate


class TorchField:
    """The same in torch."""

    def __init__(self, problem: ulpm.Problem) -> None:
        self._shapes = (problem.num_classes, problem.feature_dim), (problem.feature_dim, problem.num_samples)
        self._split = problem.num_classes * problem.feature_dim
        self._rows = problem.labels[None]
        self.evaluations = 0

    def unpack(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Views W and H."""
        return y[: self._split].view(self._shapes[0]), y[self._split :].view(self._shapes[1])

    def __call__(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """dy/dt."""
        self.evaluations += 1
        W, H = self.unpack(y)
        R = torch.softmax(W @ H, 0).neg_().scatter_(0, self._rows, 0.0)
        R.scatter_(0, self._rows, -R.sum(0, keepdim=True))
        rate = torch.empty_like(y)
        W_rate, H_rate = self.unpack(rate)
        torch.matmul(R, H.T, out=W_rate)
        torch.matmul(W.T, R, out=H_rate)
        return rate


def absolute_tolerance(start: ulpm.State, rtol: float) -> float:
    """``rtol`` times the root mean square of the entries of the start: the norm-wise tolerance of ulpm, per entry."""
    return rtol * float(torch.cat([start.W.flatten(), start.H.flatten()]).square().mean().sqrt())


def scipy_solver(method: str) -> Callable[[ulpm.Problem, ulpm.State, float, float], Outcome]:
    """scipy.integrate.solve_ivp with an explicit method."""

    def solve(problem: ulpm.Problem, start: ulpm.State, end: float, rtol: float) -> Outcome:
        field = NumpyField(problem)
        y = field.pack(start)
        tolerances = {"rtol": rtol, "atol": absolute_tolerance(start, rtol)}
        solution = solve_ivp(field, (0.0, end), y, method=method, t_eval=[end], **tolerances)
        if not solution.success:
            raise RuntimeError(f"{method} at rtol {rtol:g}: {solution.message}")
        W, H = field.unpack(solution.y[:, -1])
        return Outcome(ulpm.State(torch.tensor(W), torch.tensor(H)), solution.nfev)

    return solve


def torchdiffeq_dopri5(problem: ulpm.Problem, start: ulpm.State, end: float, rtol: float) -> Outcome:
    """torchdiffeq.odeint with dopri5."""
    field = TorchField(problem)
    y = torch.cat([start.W.flatten(), start.H.flatten()])
    times = torch.tensor([0.0, end], dtype=y.dtype)
    with torch.no_grad():
        path = odeint(field, y, times, rtol=rtol, atol=absolute_tolerance(start, rtol), method="dopri5")
    W, H = field.unpack(path[-1])
    return Outcome(ulpm.State(W, H), field.evaluations)
