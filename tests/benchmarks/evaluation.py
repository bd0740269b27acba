"""Times of one field evaluation, one product with the Jacobian and their matrix products, at one size."""

import dataclasses

import torch
from timing import Timing, repeat_for, when_done

import ulpm
from ulpm.flow.system import FlowSystem

CPU = torch.device("cpu")
BYTES = 8
# Vectors as large as H and matrices as large as the logits that a product with the Jacobian holds at its peak.
LARGE_VECTORS, LOGIT_MATRICES = 7, 10
# Matrix products in one evaluation of each kind.
PRODUCTS = {"rate": 3, "product": 6, "alone": 3}
NAMES = {"rate": "field evaluation", "product": "Jacobian product", "alone": "three matrix products alone"}


@dataclasses.dataclass(frozen=True)
class Size:
    """N samples of K classes in d dimensions."""

    K: int
    N: int
    d: int

    @property
    def multiplications(self) -> int:
        """K·d·N, the multiplications of one matrix product; it has as many additions."""
        return self.K * self.d * self.N

    @property
    def problem(self) -> ulpm.Problem:
        """One with classes as even as possible."""
        small, more = divmod(self.N, self.K)
        return ulpm.Problem([small + (k < more) for k in range(self.K)], self.d)

    @property
    def gigabytes(self) -> float:
        """An estimate of what measuring it takes."""
        return BYTES * (LARGE_VECTORS * self.d + LOGIT_MATRICES * self.K) * self.N / 2**30


@dataclasses.dataclass(frozen=True)
class Cost:
    """Times at one size: a field evaluation, a Jacobian product, and the three matrix products of the field alone."""

    size: Size
    rate: Timing
    product: Timing
    alone: Timing


def drawn_state(problem: ulpm.Problem, device: torch.device, dtype: torch.dtype) -> ulpm.State:
    """A start like that of ``Problem.random_state``, but drawn on ``device``, which saves minutes if it is large."""
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=dtype, device=device)
        return drawn.mul_(problem.feature_dim**-0.5)

    K, d, N = problem.num_classes, problem.feature_dim, problem.num_samples
    return ulpm.State(draw(K, d), draw(d, N))


def measure(size: Size, total: float, device: torch.device = CPU, dtype: torch.dtype = torch.float64) -> Cost:
    """Time the three at a random state on ``device``, which each call waits for."""
    problem = size.problem
    with torch.inference_mode():
        system = FlowSystem(problem, device)
        state = drawn_state(problem, device, dtype)
        y = system.layout.pack(state)
        linear = system.linearise(y)
        tangent, image = y.clone(), torch.empty_like(y)
        W, H = state.W, state.H
        Z, R = W.new_empty(size.K, size.N), W.new_ones(size.K, size.N)
        W_image, H_image = torch.empty_like(W), torch.empty_like(H)

        def products_alone() -> None:
            torch.matmul(W, H, out=Z)
            torch.matmul(R, H.T, out=W_image)
            torch.matmul(W.T, R, out=H_image)

        return Cost(
            size,
            rate=repeat_for(when_done(lambda: system.rate(y, image), device), total),
            product=repeat_for(when_done(lambda: linear.product(tangent, image), device), total),
            alone=repeat_for(when_done(products_alone, device), total),
        )
