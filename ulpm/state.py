"""The free variables of a model, as a value."""

import dataclasses
import numbers
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks

__all__ = ["Factors", "State"]


class Factors(NamedTuple):
    """The tensors of a state, unchecked, as products and steps hand them on: logits are Z = W H + b 1ᵀ."""

    W: Float[Tensor, "*batch K d"]
    H: Float[Tensor, "*batch d N"]
    b: Float[Tensor, "*batch K"] | None = None

    @property
    def logits(self) -> Float[Tensor, "*batch K N"]:
        """Z."""
        Z = self.W @ self.H
        return Z if self.b is None else Z.add_(self.b[..., None])

    def vector(self) -> Float[Tensor, "*batch D"]:
        """See ``State.vector``."""
        parts = [self.W.flatten(-2), *([] if self.b is None else [self.b]), self.H.flatten(-2)]
        return torch.cat(parts, -1)


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """The free variables of the model: logits are Z = W H, or W H + b 1ᵀ with a bias.

    States of one shape add and subtract, and are multiplied by numbers, part by part. ``state[i]`` takes replicas.

    Args:
        W: The classifier [..., K, d], row k is w_k. Leading axes are replicas.
        H: The features [..., d, N], columns sorted by class (labels 0…0 1…1 …), of the dtype and device of W.
        b: The bias [..., K], or None.

    Raises:
        TypeError: If a part is no floating-point tensor.
        ValueError: For NaN, infinity, or shapes that do not fit.

    >>> state = ulpm.State(W=torch.ones(2, 3), H=torch.zeros(3, 4))
    >>> state.squared_norm, (2 * state - state).squared_norm, state.vector().shape
    (tensor(6.), tensor(6.), torch.Size([18]))
    """

    W: Float[Tensor, "*batch K d"]
    H: Float[Tensor, "*batch d N"]
    b: Float[Tensor, "*batch K"] | None = None

    def __post_init__(self) -> None:
        _checks.shape("W", _checks.floating("W", self.W), None, None)
        _checks.shape("H", _checks.floating("H", self.H), self.W.shape[-1], None)
        if self.W.shape[:-2] != self.H.shape[:-2]:
            raise ValueError(
                f"W and H must have the same leading (replica) axes, "
                f"but these are {list(self.W.shape[:-2])} and {list(self.H.shape[:-2])}."
            )
        if self.W.dtype != self.H.dtype or self.W.device != self.H.device:
            raise ValueError(
                f"W and H must share dtype and device, but W is {self.W.dtype} on {self.W.device} "
                f"and H is {self.H.dtype} on {self.H.device}: convert one with .to(...)."
            )
        if self.b is not None:
            _checks.floating("b", self.b)
            if self.b.shape != self.W.shape[:-1]:
                raise ValueError(f"b must have shape {list(self.W.shape[:-1])}, but it is {list(self.b.shape)}.")
            if self.b.dtype != self.W.dtype or self.b.device != self.W.device:
                raise ValueError(
                    f"W and b must share dtype and device, but W is {self.W.dtype} on {self.W.device} "
                    f"and b is {self.b.dtype} on {self.b.device}: convert one with .to(...)."
                )

    @property
    def factors(self) -> Factors:
        """The tensors alone."""
        return Factors(self.W, self.H, self.b)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of the replica axes; empty for a single state."""
        return self.W.shape[:-2]

    @property
    def squared_norm(self) -> Float[Tensor, "*batch"]:
        """ρ² = ‖W‖_F² + ‖H‖_F², without the bias."""
        return self.W.square().sum((-2, -1)) + self.H.square().sum((-2, -1))

    def vector(self) -> Float[Tensor, "*batch D"]:
        """W, then b if there is one, then H, each a row after the other, laid end to end."""
        return self.factors.vector()

    def like(self, vector: Float[Tensor, "*any D"]) -> "State":
        """The state of this one's shapes, with whatever leading axes, that has this ``vector``.

        Raises:
            ValueError: If the vector has another length.
        """
        K, d = self.W.shape[-2:]
        sizes = [K * d, 0 if self.b is None else K, d * self.H.shape[-1]]
        if vector.shape[-1:] != (sum(sizes),):
            raise ValueError(f"the vector must have {sum(sizes)} entries, but its shape is {list(vector.shape)}.")
        W, b, H = vector.split_with_sizes(sizes, -1)
        shape = vector.shape[:-1]
        return State(W.reshape(*shape, K, d), H.reshape(*shape, d, -1), None if self.b is None else b)

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> "State":
        """The same numbers on another device or in another precision."""
        kind = dtype or self.W.dtype
        where = self.W.device if device is None else _checks.device(str(device), kind)
        return State(self.W.to(where, kind), self.H.to(where, kind), None if self.b is None else self.b.to(where, kind))

    def __getitem__(self, index: int | slice | Tensor) -> "State":
        """One replica, or several."""
        if not self.batch_shape:
            raise TypeError("a single state has no replicas to choose from.")
        if not isinstance(index, int | slice | Tensor):
            raise TypeError(f"a replica is chosen by an integer, a slice or a tensor, not by {_checks.shown(index)}.")
        if isinstance(index, int) and not -len(self.W) <= index < len(self.W):
            raise IndexError(f"there are {len(self.W)} replicas, but number {index} was asked for.")
        return State(self.W[index], self.H[index], None if self.b is None else self.b[index])

    def __add__(self, other: "State") -> "State":
        self._fits(other)
        if self.W.dtype != other.W.dtype or self.W.device != other.W.device:
            raise ValueError("states of one dtype on one device add up: convert one with .to(...).")
        b = None if self.b is None or other.b is None else self.b + other.b
        return State(self.W + other.W, self.H + other.H, b)

    def __sub__(self, other: "State") -> "State":
        self._fits(other)
        return self + -1.0 * other

    def __mul__(self, factor: float | Float[Tensor, "*batch"]) -> "State":
        if not isinstance(factor, numbers.Real | Tensor):
            raise TypeError(f"a state is multiplied by a number or a tensor of them, not by {_checks.shown(factor)}.")
        if isinstance(factor, Tensor) and factor.shape not in (torch.Size(), self.batch_shape):
            raise ValueError(
                f"a factor must be one number or have the shape {list(self.batch_shape)} of the replicas, "
                f"but its shape is {list(factor.shape)}."
            )
        scale = factor[..., None] if isinstance(factor, Tensor) else factor
        wide = scale[..., None] if isinstance(scale, Tensor) else scale
        return State(self.W * wide, self.H * wide, None if self.b is None else self.b * scale)

    __rmul__ = __mul__

    def _fits(self, other: "State") -> None:
        if not isinstance(other, State) or (self.b is None) != (other.b is None):
            raise TypeError("only states with the same parts add up.")
        if self.W.shape[-2:] != other.W.shape[-2:] or self.H.shape[-2:] != other.H.shape[-2:]:
            raise ValueError(
                f"states of one shape add up, but W and H are {list(self.W.shape)}, {list(self.H.shape)} and "
                f"{list(other.W.shape)}, {list(other.H.shape)}."
            )
